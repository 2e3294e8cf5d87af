package render

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows/state"
)

// Tunnel is how packets get to another node: from Local to Remote, two addresses of one
// family. Both are invalid where there is no way.
type Tunnel struct {
	Local, Remote netip.Addr
}

// TunnelTo is the tunnel to a node. Of two families that both nodes have it is IPv4,
// whose header is shorter; both ends decide alike.
func TunnelTo(n state.Node, s state.State) Tunnel {
	local := tunnelEnds(s)
	for _, remote := range firstOfFamily(n.Addresses) { // IPv4 first
		if len(local) == 0 {
			return Tunnel{Remote: remote}
		}
		for _, a := range local {
			if a.Is4() == remote.Is4() {
				return Tunnel{a, remote}
			}
		}
	}
	return Tunnel{}
}

// TunnelAddress is where the tunnel to a node ends. Invalid if nowhere.
func TunnelAddress(n state.Node, s state.State) netip.Addr { return TunnelTo(n, s).Remote }

// tunnelEnds are where this node's own tunnels begin, one address of each family that
// its underlay has: those that are on the machine or, while that is not known, those of
// the Node object.
func tunnelEnds(s state.State) []netip.Addr {
	if ends := s.Facts.Tunnels(); len(ends) > 0 {
		return ends
	}
	self, _ := s.Self()
	return firstOfFamily(self.Addresses)
}

// TunnelLocalIP is the option local_ip of the tunnel port: the one address by which this
// node's tunnels begin, or "flow" where it has one of each family. Then the flow to a
// node says which.
func TunnelLocalIP(s state.State) string {
	ends := tunnelEnds(s)
	if len(ends) == 1 {
		return ends[0].String()
	}
	return "flow"
}

// firstOfFamily is the first address of each family, IPv4 before IPv6.
func firstOfFamily(all []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		if !slices.ContainsFunc(out, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, byFamily)
	return out
}

// byFamily puts IPv4 before IPv6. Together with a stable order within a family it is the
// one in which MACs and port numbers are derived from addresses.
func byFamily(a, b netip.Addr) int { return a.BitLen() - b.BitLen() }

// overIPv6 tells whether one of this node's tunnels is over IPv6.
func overIPv6(s state.State) bool {
	ends := tunnelEnds(s)
	switch len(ends) {
	case 0:
		return false
	case 1:
		return ends[0].Is6()
	}
	return slices.ContainsFunc(s.Nodes, func(n state.Node) bool {
		return n.Name != s.Node && TunnelAddress(n, s).Is6()
	})
}

// LeastIPv6MTU is the least MTU of a link on which there is IPv6, in bytes (RFC 8200,
// section 5). Linux turns IPv6 off on a device with less.
const LeastIPv6MTU = 1280

// Problems are what is wrong with the addresses of this state, in words, with what to do:
// pods that nobody can reach, for which no claim of another is to blame.
func Problems(s state.State) []string {
	var out []string
	self, ok := s.Self()
	if !ok {
		return nil
	}
	ends := tunnelEnds(s)
	for _, a := range firstOfFamily(self.Addresses) {
		if !slices.ContainsFunc(ends, func(e netip.Addr) bool { return e.Is4() == a.Is4() }) {
			out = append(out, fmt.Sprintf("no InternalIP of this node's of the family of %s is on a device of this machine: no tunnels by it; correct the Node's status.addresses, or give a device the address", a))
		}
	}
	for _, n := range s.Nodes {
		if n.Name == s.Node || len(n.PodCIDRs) == 0 || TunnelAddress(n, s).IsValid() {
			continue
		}
		if len(n.Addresses) == 0 {
			out = append(out, fmt.Sprintf("node %s has no InternalIP: its pods are not reached", n.Name))
			continue
		}
		out = append(out, fmt.Sprintf("node %s has no InternalIP of a family of this node's: %v there, %v here: its pods are not reached; give both nodes addresses of one family", n.Name, n.Addresses, ends))
	}
	slices.Sort(out)
	hasIPv6 := slices.ContainsFunc(self.PodCIDRs, func(p netip.Prefix) bool { return p.Addr().Is6() })
	if mtu := MTU(s); hasIPv6 && mtu != 0 && mtu < LeastIPv6MTU {
		out = append(out, fmt.Sprintf("the MTU of pods is %d, IPv6 needs %d: their IPv6 addresses do not work; raise the underlay's MTU", mtu, LeastIPv6MTU))
	}
	return out
}
