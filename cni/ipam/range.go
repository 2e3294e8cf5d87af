package ipam

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
)

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
