package policy

import (
	"net/netip"

	"github.com/sluice-cni/sluice/flows/state"
)

// portMask is a set of ports: those that equal value in the bits of mask.
type portMask struct{ value, mask uint16 }

// portMasks are the fewest masks that hold exactly the ports from first to last.
func portMasks(first, last uint16) []portMask {
	var out []portMask
	for at, end := uint32(first), uint32(last)+1; at < end; {
		size := uint32(1)
		for at%(size*2) == 0 && at+size*2 <= end {
			size *= 2
		}
		out = append(out, portMask{uint16(at), uint16(^(size - 1))})
		at += size
	}
	return out
}

// prefixes are those that a block consists of without its exceptions.
func prefixes(b state.IPBlock) []netip.Prefix {
	left := []netip.Prefix{b.CIDR.Masked()}
	for _, except := range b.Except {
		var next []netip.Prefix
		for _, p := range left {
			next = append(next, without(p, except.Masked())...)
		}
		left = next
	}
	return left
}

// without is p less q.
func without(p, q netip.Prefix) []netip.Prefix {
	switch {
	case !p.Overlaps(q):
		return []netip.Prefix{p}
	case q.Bits() <= p.Bits():
		return nil
	}
	var out []netip.Prefix
	for p.Bits() < q.Bits() {
		low, high := halves(p)
		if low.Contains(q.Addr()) {
			out, p = append(out, high), low
		} else {
			out, p = append(out, low), high
		}
	}
	return out
}

func halves(p netip.Prefix) (low, high netip.Prefix) {
	bytes := p.Addr().AsSlice()
	bytes[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	addr, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(p.Addr(), p.Bits()+1), netip.PrefixFrom(addr, p.Bits()+1)
}
