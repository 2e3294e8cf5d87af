package render

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// HostPort is a port of this node's that leads to a pod on it.
type HostPort struct {
	// Address is the node's address on which it is; invalid: all of To's family.
	Address  netip.Addr     `json:"address,omitzero"`
	Protocol state.Protocol `json:"protocol"`
	Port     uint16         `json:"port"`
	// To is the pod's address and port.
	To netip.AddrPort `json:"to"`
}

// OnNode is the node's end in words, 8080/TCP or 10.9.0.1:8080/TCP.
func (h HostPort) OnNode() string {
	return state.HostPort{Address: h.Address, Protocol: h.Protocol, Port: h.Port}.OnNode()
}

// compareHostPorts is the order of Rules.HostPorts.
func compareHostPorts(a, b HostPort) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), a.Address.Compare(b.Address), a.To.Compare(b.To))
}

// claimedPort is a host port that an attachment wants.
type claimedPort struct {
	state.HostPort
	standing claims.Standing
	pod      state.Attachment
}

// hostPorts are those of the node's ports that lead to attachments. Two want one where a packet
// could be meant for both. What lives comes before what is on its way out, then the older: a port
// of the node's is an address that clients know, and no newcomer takes it away.
func (d *division) hostPorts() []HostPort {
	type key struct {
		protocol state.Protocol
		port     uint16
	}
	given := map[key][]claimedPort{}
	var out []HostPort
	for _, c := range d.claimedPorts() {
		k := key{c.Protocol, c.Port}
		if i := slices.IndexFunc(given[k], func(o claimedPort) bool { return c.Overlaps(o.HostPort) }); i >= 0 {
			d.lost(claims.OnHostPort, c.OnNode(), c.standing, given[k][i].standing.Of)
			continue
		}
		given[k] = append(given[k], c)
		for _, addr := range c.pod.Addresses {
			if !c.Serves(addr) || !d.addresses.Holds(addr, claims.OfAttachment(c.pod)) {
				continue
			}
			h := HostPort{Protocol: c.Protocol, Port: c.Port, To: netip.AddrPortFrom(addr, c.PodPort)}
			if !c.Everywhere() {
				h.Address = c.Address
			}
			out = append(out, h)
		}
	}
	slices.SortFunc(out, compareHostPorts)
	return out
}

// claimedPorts are all that are wanted, those that come first first.
func (d *division) claimedPorts() []claimedPort {
	var out []claimedPort
	var goes func(state.Attachment) bool
	for _, a := range d.state.Attachments {
		if len(a.HostPorts) == 0 || a.OFPort == 0 || !d.ports.Holds(a.OFPort, claims.OfAttachment(a)) {
			continue
		}
		if goes == nil {
			goes = leaving(d.state)
		}
		for _, h := range a.HostPorts {
			out = append(out, claimedPort{h, claims.OfHostPort(a, goes(a)), a})
		}
	}
	slices.SortFunc(out, func(a, b claimedPort) int {
		return cmp.Or(claims.Compare(a.standing, b.standing), state.CompareHostPorts(a.HostPort, b.HostPort))
	})
	return out
}

// leaving tells of an attachment whether its pod is on its way out.
func leaving(s state.State) func(state.Attachment) bool {
	going := map[string][]state.Pod{}
	for _, p := range s.Pods {
		if p.Deleting || p.Finished {
			going[p.Namespace+"/"+p.Name] = append(going[p.Namespace+"/"+p.Name], p)
		}
	}
	return func(a state.Attachment) bool {
		return slices.ContainsFunc(going[a.PodNamespace+"/"+a.PodName], a.Of)
	}
}

// onLoopback tells whether one of the ports is on 127.0.0.1, or on any address.
func onLoopback(ports []HostPort) bool {
	return slices.ContainsFunc(ports, func(h HostPort) bool {
		return h.To.Addr().Is4() && (!h.Address.IsValid() || h.Address.IsLoopback())
	})
}
