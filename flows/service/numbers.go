package service

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
)

// Hash derives a group's number from its name; it is SHA-256's first 31 bits.
type Hash func(name string) uint32

func defaultHash(name string) uint32 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint32(sum[:4]) >> 1
}

// numberSpace holds a group's number: from 1 to 2^31-1.
const numberSpace = 1 << 31

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

func newGroupName(name string, hash Hash) groupName {
	n := hash(name) % numberSpace
	return groupName{name, max(n, 1)}
}

// settleNumbers gives each group a number, which depends on the set of their names alone: of those with
// one hash the first by name has it, the others the next that are free.
func settleNumbers(all []*Service) Numbers {
	if !collide(all) {
		return Numbers{}
	}
	var names []groupName
	for _, s := range all {
		names = append(names, s.groups...)
	}
	slices.SortFunc(names, func(a, b groupName) int { return cmp.Compare(a.name, b.name) })
	moved, taken := map[string]uint32{}, make(map[uint32]bool, len(names))
	for _, g := range names {
		n := g.hash
		for n == 0 || taken[n] {
			n = (n + 1) % numberSpace
		}
		taken[n] = true
		if n != g.hash {
			moved[g.name] = n
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
