package ipam

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"
)

// Range is where addresses come from: a prefix, less what must not be given.
type Range struct {
	// Prefix is without host bits.
	Prefix netip.Prefix
	// Gateway is an address that no pod gets; the first host address if not valid.
	Gateway netip.Addr
	// First and Last bound what is given, themselves included; the whole prefix if
	// not valid.
	First, Last netip.Addr
	// Exclude are addresses that are given only to who asks for them.
	Exclude []netip.Prefix
}

// Whole are ranges of whole prefixes.
func Whole(prefixes ...netip.Prefix) []Range {
	var out []Range
	for _, p := range prefixes {
		out = append(out, Range{Prefix: p.Masked()})
	}
	return out
}

// String is the prefix, and the bounds where there are any.
func (r Range) String() string {
	if !r.First.IsValid() && !r.Last.IsValid() {
		return r.Prefix.String()
	}
	lo, hi := r.bounds()
	return fmt.Sprintf("%s (%s to %s)", r.Prefix, at(r.Prefix, lo), at(r.Prefix, hi))
}

// Capacity is how many addresses of the range are given without being asked for.
func (r Range) Capacity() (n uint64) {
	for _, s := range r.spans() {
		n = saturate(n, s.size())
	}
	return n
}

func saturate(a, b uint64) uint64 {
	if b > math.MaxUint64-a {
		return math.MaxUint64
	}
	return a + b
}

// gateway is the address of it.
func (r Range) gateway() netip.Addr {
	if r.Gateway.IsValid() {
		return r.Gateway
	}
	return at(r.Prefix, 1)
}

// bounds are the first and the last offset that may be given, gateway and exclusions
// apart; the first is greater if there are none. Offset 0 is the network's own.
func (r Range) bounds() (first, last uint64) {
	first, last = 1, lastOffset(r.Prefix)
	if r.First.IsValid() {
		first = max(first, offset(r.Prefix, r.First))
	}
	if r.Last.IsValid() {
		last = min(last, offset(r.Prefix, r.Last))
	}
	return first, last
}

// span is offsets into a prefix, both ends included.
type span struct{ first, last uint64 }

func (s span) size() uint64 { return saturate(s.last-s.first, 1) }

// spans are what is given without being asked for, in order.
func (r Range) spans() []span {
	first, last := r.bounds()
	if first > last {
		return nil
	}
	gateway := r.gateway()
	taken := []span{{offset(r.Prefix, gateway), offset(r.Prefix, gateway)}}
	for _, e := range r.Exclude {
		if e = e.Masked(); !e.Overlaps(r.Prefix) {
			continue
		}
		if e.Bits() <= r.Prefix.Bits() {
			return nil
		}
		begin := offset(r.Prefix, e.Addr())
		taken = append(taken, span{begin, saturate(begin, 1<<min(63, e.Addr().BitLen()-e.Bits())-1)})
	}
	slices.SortFunc(taken, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	var out []span
	for _, t := range taken {
		if t.first > first {
			out = append(out, span{first, min(last, t.first-1)})
		}
		if t.last == math.MaxUint64 {
			return out
		}
		if first = max(first, t.last+1); first > last {
			return out
		}
	}
	return append(out, span{first, last})
}

// firstOffset is the first offset into a range that a pod may have: 0 is the
// network, 1 the gateway.
const firstOffset = 2

// Capacity is how many pods' addresses a range has: all but the reserved ones, and
// none if there are only those (IPv4 /31 and /32, IPv6 /127 and /128). Of an IPv6
// range wider than /64 only the first 2^64 addresses count.
func Capacity(prefix netip.Prefix) uint64 {
	last := lastOffset(prefix)
	if last < firstOffset {
		return 0
	}
	return last - firstOffset + 1
}

// lastOffset is the last offset that a pod may have; it may be less than
// firstOffset. Offsets beyond 64 bits are not used: nobody holds 2^64 addresses.
func lastOffset(prefix netip.Prefix) uint64 {
	host := prefix.Addr().BitLen() - prefix.Bits()
	if host >= 64 {
		return math.MaxUint64
	}
	last := uint64(1)<<host - 1
	if prefix.Addr().Is4() && last > 0 {
		last-- // broadcast
	}
	return last
}

// at is the address at an offset from the range's first.
func at(prefix netip.Prefix, offset uint64) netip.Addr {
	base := prefix.Masked().Addr()
	if base.Is4() {
		b := base.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(offset))
		return netip.AddrFrom4(b)
	}
	b := base.As16()
	low, carry := bits.Add64(binary.BigEndian.Uint64(b[8:]), offset, 0)
	binary.BigEndian.PutUint64(b[8:], low)
	binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])+carry)
	return netip.AddrFrom16(b)
}

// offset is how far an address that the prefix contains is from the range's first,
// math.MaxUint64 if that or farther. The prefix must be masked.
func offset(prefix netip.Prefix, addr netip.Addr) uint64 {
	if addr.Is4() {
		a, base := addr.As4(), prefix.Addr().As4()
		return uint64(binary.BigEndian.Uint32(a[:]) - binary.BigEndian.Uint32(base[:]))
	}
	a, base := addr.As16(), prefix.Addr().As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(base[8:]), 0)
	high, _ := bits.Sub64(binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(base[:8]), borrow)
	if high != 0 {
		return math.MaxUint64
	}
	return low
}
