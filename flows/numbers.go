package flows

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// Hash derives a number from a name; only its low 31 bits count.
type Hash func(name string) uint32

// HashName is SHA-256's first 31 bits.
func HashName(name string) uint32 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint32(sum[:4]) >> 1
}

// NumberSpace holds the numbers of names, which are from 1 to 2^31-1.
const NumberSpace = 1 << 31

// Numbers gives each of the map's names a number. It depends on the set of names alone: the
// first of those with one hash, in their order, has it; the others have the next that are free.
func Numbers[V any](names map[string]V, hash Hash) map[string]uint32 {
	out := make(map[string]uint32, len(names))
	taken := make(map[uint32]bool, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := hash(name) % NumberSpace
		for n == 0 || taken[n] {
			n = (n + 1) % NumberSpace
		}
		taken[n] = true
		out[name] = n
	}
	return out
}
