package service

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
)

// Numbers are those of groups.
type Numbers struct {
	// moved are the few whose hash is another's number.
	moved map[string]uint32
}

// of is a group's number.
func (n Numbers) of(g groupName) uint32 {
	if moved, ok := n.moved[g.name]; ok {
		return moved
	}
	return g.hash
}

// SameNumbers tells whether the Service's groups have the same numbers in both.
func (s *Service) SameNumbers(a, b Numbers) bool {
	if len(a.moved) == 0 && len(b.moved) == 0 {
		return true
	}
	return !slices.ContainsFunc(s.groups, func(g groupName) bool { return a.of(g) != b.of(g) })
}

// groupName is a group's name, and the number that it has unless another has it.
type groupName struct {
	name string
	hash uint32
}

func newGroupName(name string, hash flows.Hash) groupName {
	n := hash(name) % flows.NumberSpace
	return groupName{name, max(n, 1)}
}

// settleNumbers gives each group a number, which depends on the set of their names alone: of those with
// one hash the first by name has it, the others the next that are free.
func settleNumbers(all []*Service) Numbers {
	if !collide(all) {
		return Numbers{}
	}
	hashes := map[string]uint32{}
	for _, s := range all {
		for _, g := range s.groups {
			hashes[g.name] = g.hash
		}
	}
	moved := map[string]uint32{}
	for name, n := range flows.Numbers(hashes, func(name string) uint32 { return hashes[name] }) {
		if n != hashes[name] {
			moved[name] = n
		}
	}
	return Numbers{moved}
}

func collide(all []*Service) bool {
	taken := make(map[uint32]bool, 2*len(all))
	for _, s := range all {
		for _, g := range s.groups {
			if taken[g.hash] {
				return true
			}
			taken[g.hash] = true
		}
	}
	return false
}

// bucketNumbers are those of the buckets of backends: derived from the backend, since that is by what
// the switch chooses in a group of method hash, so that a backend's coming or going moves nobody
// else. Of two with one hash the second has the next that is free.
func bucketNumbers(backends []netip.AddrPort) []uint32 {
	out := make([]uint32, len(backends))
	taken := make(map[uint32]bool, len(backends))
	for i, b := range backends {
		n := backendHash(b) % flows.MaxBucket
		for taken[n] {
			n = (n + 1) % flows.MaxBucket
		}
		taken[n], out[i] = true, n
	}
	return out
}

func backendHash(b netip.AddrPort) uint32 {
	sum := sha256.Sum256(binary.BigEndian.AppendUint16(b.Addr().AsSlice(), b.Port()))
	return binary.BigEndian.Uint32(sum[:4])
}
