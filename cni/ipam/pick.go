package ipam

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

// Rest is how long a freed address is kept back while any other is free: longer
// than conntrack may hold a half-open translation to it.
const Rest = 120 * time.Second

// Rested tells whether an address freed then may be given again without harm now.
// One freed in the future (the clock was set back) has not rested.
func Rested(freed, now time.Time) bool { return now.Sub(freed) >= Rest }

// Pick chooses an address for a pod out of ranges, which must all be of one family
// and must not overlap. Held are the addresses that somebody has, and who, in words
// for the error; freed are those that somebody had, and when they were freed. Either
// may hold addresses outside the ranges, or the same address: held counts. No address
// may be in IPv6's form of an IPv4 address (netip.Addr.Unmap).
//
// In this order: addresses that nobody ever had, ascending within a range, the
// ranges as given; those freed and rested, the oldest first; those freed less than
// [Rest] ago, the oldest first. A reserved address is never picked.
//
// The cost is one pass over held and freed for each range, whatever the ranges'
// size. The errors are [ErrNoRange] and [*ExhaustedError].
func Pick(ranges []Range, held map[netip.Addr]string, freed map[netip.Addr]time.Time, now time.Time) (netip.Addr, error) {
	if len(ranges) == 0 {
		return netip.Addr{}, ErrNoRange
	}
	for _, r := range ranges {
		for _, s := range r.spans() {
			if addr, ok := neverUsed(r.Prefix, s, held, freed); ok {
				return addr, nil
			}
		}
	}
	if addr, ok := used(ranges, held, freed, now); ok {
		return addr, nil
	}
	return netip.Addr{}, exhausted(ranges, held)
}

// neverUsed finds the lowest address of a span that is in neither map. With n
// known addresses it is among the first n+1 that may be given, so a bitmap of these
// is enough, and far faster than asking the maps for one address after another.
func neverUsed(r netip.Prefix, s span, held map[netip.Addr]string, freed map[netip.Addr]time.Time) (netip.Addr, bool) {
	size := min(s.size(), uint64(len(held)+len(freed))+1)
	taken := make([]uint64, (size+63)/64)
	mark := func(addr netip.Addr) {
		if !r.Contains(addr) {
			return
		}
		if i := offset(r, addr) - s.first; i < size { // those before it wrap around to large numbers
			taken[i/64] |= 1 << (i % 64)
		}
	}
	for addr := range held {
		mark(addr)
	}
	for addr := range freed {
		mark(addr)
	}
	for word, set := range taken {
		if free := uint64(word)*64 + uint64(bits.TrailingZeros64(^set)); set != ^uint64(0) && free < size {
			return at(r, s.first+free), true
		}
	}
	return netip.Addr{}, false
}

// used finds the freed address that has rested longest, if it is not held again.
func used(ranges []Range, held map[netip.Addr]string, freed map[netip.Addr]time.Time, now time.Time) (best netip.Addr, ok bool) {
	var since time.Time
	for addr, when := range freed {
		if _, again := held[addr]; again || ok && !before(when, addr, since, best, now) || !assignable(ranges, addr) {
			continue
		}
		best, since, ok = addr, when, true
	}
	return best, ok
}

// before is the order among freed addresses: rested, then oldest, then lowest (so
// that the choice does not hang on a map's order).
func before(aFreed time.Time, a netip.Addr, bFreed time.Time, b netip.Addr, now time.Time) bool {
	if ra, rb := Rested(aFreed, now), Rested(bFreed, now); ra != rb {
		return ra
	}
	if !aFreed.Equal(bFreed) {
		return aFreed.Before(bFreed)
	}
	return a.Less(b)
}

// assignable tells whether an address may be given without being asked for.
func assignable(ranges []Range, addr netip.Addr) bool {
	for _, r := range ranges {
		if r.Prefix.Contains(addr) {
			o := offset(r.Prefix, addr)
			return slices.ContainsFunc(r.spans(), func(s span) bool { return s.first <= o && o <= s.last })
		}
	}
	return false
}

// Grant checks an address that somebody asks for: it must be in one of the ranges, of
// any family, and neither the network's, nor the gateway's, nor the broadcast address.
// What a range excludes may be asked for. The error says which of these it is.
func Grant(ranges []Range, addr netip.Addr) error {
	for _, r := range ranges {
		if !r.Prefix.Contains(addr) {
			continue
		}
		o := offset(r.Prefix, addr)
		first, last := r.bounds()
		switch {
		case o == 0:
			return fmt.Errorf("%s is the network's own address, of %s", addr, r.Prefix)
		case addr == r.gateway():
			return fmt.Errorf("%s is the gateway's, of %s", addr, r.Prefix)
		case o > lastOffset(r.Prefix) && addr.Is4():
			return fmt.Errorf("%s is the broadcast address of %s", addr, r.Prefix)
		case o < first || o > last:
			return fmt.Errorf("%s is outside of what is given: %s", addr, r)
		}
		return nil
	}
	return fmt.Errorf("%s is outside of this node's ranges: %s", addr, names(ranges))
}
