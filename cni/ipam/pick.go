package ipam

import (
	"math/bits"
	"net/netip"
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
func Pick(ranges []netip.Prefix, held map[netip.Addr]string, freed map[netip.Addr]time.Time, now time.Time) (netip.Addr, error) {
	if len(ranges) == 0 {
		return netip.Addr{}, ErrNoRange
	}
	for _, r := range ranges {
		if addr, ok := neverUsed(r.Masked(), held, freed); ok {
			return addr, nil
		}
	}
	if addr, ok := used(ranges, held, freed, now); ok {
		return addr, nil
	}
	return netip.Addr{}, exhausted(ranges, held)
}

// neverUsed finds the lowest address of a range that is in neither map. With n
// known addresses it is among the first n+1 that may be given, so a bitmap of these
// is enough, and far faster than asking the maps for one address after another.
func neverUsed(r netip.Prefix, held map[netip.Addr]string, freed map[netip.Addr]time.Time) (netip.Addr, bool) {
	capacity := Capacity(r)
	if capacity == 0 {
		return netip.Addr{}, false
	}
	size := min(capacity, uint64(len(held)+len(freed))+1)
	taken := make([]uint64, (size+63)/64)
	mark := func(addr netip.Addr) {
		if !r.Contains(addr) {
			return
		}
		if i := offset(r, addr) - firstOffset; i < size { // the reserved ones wrap around to large numbers
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
			return at(r, firstOffset+free), true
		}
	}
	return netip.Addr{}, false
}

// used finds the freed address that has rested longest, if it is not held again.
func used(ranges []netip.Prefix, held map[netip.Addr]string, freed map[netip.Addr]time.Time, now time.Time) (best netip.Addr, ok bool) {
	var since time.Time
	for addr, when := range freed {
		if _, again := held[addr]; again || !assignable(ranges, addr) {
			continue
		}
		if ok && !before(when, addr, since, best, now) {
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

// assignable tells whether an address is in one of the ranges and not reserved.
func assignable(ranges []netip.Prefix, addr netip.Addr) bool {
	for _, r := range ranges {
		if r = r.Masked(); r.Contains(addr) {
			o := offset(r, addr)
			return o >= firstOffset && o <= lastOffset(r)
		}
	}
	return false
}
