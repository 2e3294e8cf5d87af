package policy

import (
	"net/netip"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// fromPrefix matches the other end's address as the dispatch has loaded it.
func fromPrefix(p netip.Prefix) flows.Match {
	m := flows.Match{}.Family(p.Addr())
	if p.Addr().Is4() {
		return m.Masked(flows.RegPeer, flows.IP(p.Addr()), flows.PrefixMask(p))
	}
	return m.Masked(flows.RegPeerIPv6, flows.IP(p.Addr()), flows.PrefixMask(p))
}

// portMatches are the conditions that numbers set for the rule's ports; names of an egress
// rule are not among them.
func (b block) portMatches(r state.PolicyRule) []flows.Match {
	out := map[string]flows.Match{}
	for _, p := range r.Ports {
		var masks []portMask
		switch {
		case p.Name != "":
			if number := b.ports[nameOf(p)]; number != 0 {
				masks = []portMask{{number, 0xffff}}
			}
		case p.Number == 0:
			masks = []portMask{{0, 0}}
		default:
			masks = portMasks(p.Number, max(p.Number, p.End))
		}
		for _, m := range portMatches(protocolOf(p), masks) {
			out[m.String()] = m
		}
	}
	return inOrder(out)
}

// portMatches stand twice for each mask: for a new connection the packet's port, once for each
// family, so that the drops of a scan stay wide in the datapath's cache; for a known one the port
// that conntrack remembers.
func portMatches(protocol state.Protocol, masks []portMask) []flows.Match {
	number := protocol.Number()
	port, _ := flows.DstPort(number)
	fresh := flows.Match{}.Masked(flows.RegConnection, flows.Uint(0), flows.Uint(flows.ConnectionKnown)).Proto(number)
	known := flows.Match{}.Masked(flows.RegConnection, flows.Uint(flows.ConnectionKnown), flows.Uint(flows.ConnectionKnown))
	var out []flows.Match
	for _, m := range masks {
		value, ones := flows.Uint(uint64(m.value)), flows.Uint(uint64(m.mask))
		out = append(out,
			fresh.IPv4().Masked(port, value, ones),
			fresh.IPv6().Masked(port, value, ones),
			known.Masked(flows.RegPort, flows.Uint(number<<16|uint64(m.value)), flows.Uint(0xff0000|uint64(m.mask))))
	}
	return out
}

// both is the match of two conditions; ok is false if they can never hold together.
func both(a, b flows.Match) (m flows.Match, ok bool) {
	for _, t := range b {
		if have, there := a.Get(t.Field); there && have != t {
			return nil, false
		}
		a = a.With(t)
	}
	return a, true
}

// both2 is both of conditions that speak of different fields.
func both2(a, b flows.Match) flows.Match {
	m, _ := both(a, b)
	return m
}
