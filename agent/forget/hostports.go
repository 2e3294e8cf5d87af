package forget

import (
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/conntrack"
)

// HostZone is the host's own, in which host ports are translated.
const HostZone uint16 = 0

// HostPorts is what the host is to forget when of its ports some no longer lead to a pod and others
// do: UDP connections that were led there, and those that went to the host itself. Local are
// the host's addresses.
func HostPorts(leaving, coming []render.HostPort, local []netip.Addr) []conntrack.Match {
	var out []conntrack.Match
	add := func(dst, answers netip.AddrPort) {
		m := conntrack.Match{Zone: HostZone, Protocol: conntrack.UDP, Original: conntrack.Tuple{Dst: dst}, Reply: conntrack.Tuple{Src: answers}}
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	for _, h := range leaving {
		if h.Protocol == state.UDP {
			add(netip.AddrPortFrom(h.Address, h.Port), h.To)
		}
	}
	for _, h := range coming {
		if h.Protocol != state.UDP {
			continue
		}
		for _, a := range local {
			if a.Is4() == h.To.Addr().Is4() && (!h.Address.IsValid() || h.Address == a) {
				add(netip.AddrPortFrom(a, h.Port), netip.AddrPortFrom(a, h.Port))
			}
		}
	}
	return out
}
