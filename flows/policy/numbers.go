package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// Hash derives a number from a name; Compile's is SHA-256's first 31 bits.
type Hash func(name string) uint32

func defaultHash(name string) uint32 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint32(sum[:4]) >> 1
}

const numberSpace = 1 << 31

// numbers gives each name a number from 1 to 2^31-1. It depends on the set of names alone: the
// first of those with one hash, in their order, has it; the others have the next that are free.
func numbers(names map[string]bool, hash Hash) map[string]uint32 {
	out := make(map[string]uint32, len(names))
	taken := make(map[uint32]bool, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := hash(name) % numberSpace
		for n == 0 || taken[n] {
			n = (n + 1) % numberSpace
		}
		taken[n] = true
		out[name] = n
	}
	return out
}
