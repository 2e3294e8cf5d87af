package lab

import (
	"fmt"
	"net/netip"
	"slices"
)

// Families are the address families of pods, or of the underlay, in an order: the first
// is that of a node's first address or podCIDR.
type Families string

// The families of a network. Empty means IPv4.
const (
	IPv4      Families = "ipv4"
	IPv6      Families = "ipv6"
	Dual      Families = "dual"
	DualIPv6  Families = "dual-ipv6-first"
	anyFamily          = "ipv4, ipv6, dual or dual-ipv6-first"
)

func (f Families) check(what string) error {
	if !slices.Contains([]Families{"", IPv4, IPv6, Dual, DualIPv6}, f) {
		return fmt.Errorf("%s %q: write %s", what, f, anyFamily)
	}
	return nil
}

// has tells whether a family is among them.
func (f Families) has(ipv4 bool) bool {
	switch f {
	case IPv6:
		return !ipv4
	case Dual, DualIPv6:
		return true
	}
	return ipv4
}

// of keeps of an IPv4 and an IPv6 thing those that are meant, in order.
func of[T any](f Families, v4, v6 T) []T {
	switch f {
	case IPv6:
		return []T{v6}
	case Dual:
		return []T{v4, v6}
	case DualIPv6:
		return []T{v6, v4}
	}
	return []T{v4}
}

// familiesOf are the families of addresses, in their order.
func familiesOf(addresses []netip.Addr) Families {
	has := func(ipv4 bool) bool {
		return slices.ContainsFunc(addresses, func(a netip.Addr) bool { return a.Is4() == ipv4 })
	}
	switch {
	case has(true) && has(false) && addresses[0].Is4():
		return Dual
	case has(true) && has(false):
		return DualIPv6
	case has(false):
		return IPv6
	}
	return IPv4
}

// The underlay is the network between the nodes. Labs do not see each other, so
// each has the same.
var (
	underlay        = netip.MustParsePrefix("10.9.0.0/24")
	underlayIPv6    = netip.MustParsePrefix("fd09::/64")
	outsideNumber   = 250
	outsideAddress  = nodeAddress(outsideNumber)
	outsideAddress6 = nodeAddressIPv6(outsideNumber)
)

// maxNodes is how many nodes a lab can have: they have the underlay's addresses
// from .1 and ::1, and the pod CIDRs 10.244.1.0/24 and fd00:10:244:1::/64 onwards with
// the same number.
const maxNodes = 200

func nodeAddress(number int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 9, 0, byte(number)})
}

func nodeAddressIPv6(number int) netip.Addr {
	bytes := underlayIPv6.Addr().As16()
	bytes[15] = byte(number)
	return netip.AddrFrom16(bytes)
}

// nodeAddresses are those of the node with a number.
func (f Families) nodeAddresses(number int) []netip.Addr {
	return of(f, nodeAddress(number), nodeAddressIPv6(number))
}

// numberOf is the number of the node that has an address of the underlay, 0 for an
// address that is no node's.
func numberOf(address netip.Addr) int {
	bytes := address.AsSlice()
	number := int(bytes[len(bytes)-1])
	if address == nodeAddress(number) || address == nodeAddressIPv6(number) {
		return number
	}
	return 0
}

// podCIDRs are those of the node with a number. The IPv6 one has its decimal digits.
func (f Families) podCIDRs(number int) []string {
	return of(f, fmt.Sprintf("10.244.%d.0/24", number), fmt.Sprintf("fd00:10:244:%d::/64", number))
}

// wired are the addresses that a node's network card has: the node's own, and those by
// which its pods get out where the underlay's families are not theirs.
func (s *state) wired(n nodeState) []netip.Addr {
	all := slices.Clone(n.Addresses)
	for _, a := range s.Families.nodeAddresses(numberOf(n.Addresses[0])) {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// outside are the addresses of the outside machine.
func (s *state) outside() []netip.Addr {
	var all []netip.Addr
	for _, a := range []netip.Addr{outsideAddress, outsideAddress6} {
		if s.Families.has(a.Is4()) || s.Underlay.has(a.Is4()) {
			all = append(all, a)
		}
	}
	return all
}

// gateway is the outside machine's address of a family; not valid if it has none.
func (s *state) gateway(address netip.Addr) netip.Addr {
	for _, a := range s.outside() {
		if a.Is4() == address.Is4() {
			return a
		}
	}
	return netip.Addr{}
}
