package render

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/service"
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

// claimedPort is a host port that a pod of one node wants.
type claimedPort struct {
	state.HostPort
	standing claims.Standing
	// pod are the pod's addresses.
	pod []netip.Addr
}

// hostPorts are those of this node's ports that lead to attachments.
func (d *division) hostPorts() []HostPort {
	var out []HostPort
	for _, c := range settlePorts(d.claimedPorts(), d.portLost) {
		for _, addr := range firstOfFamily(c.pod) {
			if !c.Serves(addr) {
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

func (d *division) portLost(loser, winner claimedPort) {
	d.lost(claims.OnHostPort, loser.OnNode(), loser.standing, winner.standing.Of)
}

// settlePorts leaves of a node's claimed ports those that are served. Two want one where a packet
// could be meant for both. What lives comes before what is on its way out, then the older: a port
// of the node's is an address that clients know, and no newcomer takes it away.
func settlePorts(all []claimedPort, lost func(loser, winner claimedPort)) []claimedPort {
	type key struct {
		protocol state.Protocol
		port     uint16
	}
	slices.SortFunc(all, func(a, b claimedPort) int {
		return cmp.Or(claims.Compare(a.standing, b.standing), state.CompareHostPorts(a.HostPort, b.HostPort))
	})
	given := map[key][]claimedPort{}
	return slices.DeleteFunc(all, func(c claimedPort) bool {
		k := key{c.Protocol, c.Port}
		if i := slices.IndexFunc(given[k], func(o claimedPort) bool { return c.Overlaps(o.HostPort) }); i >= 0 {
			lost(c, given[k][i])
			return true
		}
		given[k] = append(given[k], c)
		return false
	})
}

// claimedPorts are all that attachments want.
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
		held := slices.DeleteFunc(slices.Clone(a.Addresses), func(addr netip.Addr) bool {
			return !d.addresses.Holds(addr, claims.OfAttachment(a))
		})
		for _, h := range a.HostPorts {
			out = append(out, claimedPort{h, claims.OfHostPort(a, goes(a)), held})
		}
	}
	return out
}

// leaving tells of an attachment whether its pod is on its way out.
func leaving(s state.State) func(state.Attachment) bool {
	going := map[string][]state.Pod{}
	for i := range s.Pods {
		if p := &s.Pods[i]; p.Deleting || p.Finished {
			going[p.Namespace+"/"+p.Name] = append(going[p.Namespace+"/"+p.Name], *p)
		}
	}
	return func(a state.Attachment) bool {
		return slices.ContainsFunc(going[a.PodNamespace+"/"+a.PodName], a.Of)
	}
}

// onLoopback tells whether one of a family's ports is on the loopback, or on any address.
func onLoopback(ports []HostPort, ipv4 bool) bool {
	return slices.ContainsFunc(ports, func(h HostPort) bool {
		return h.To.Addr().Is4() == ipv4 && (!h.Address.IsValid() || h.Address.IsLoopback())
	})
}

// Loopback are a family's addresses that never leave a machine.
func Loopback(ipv4 bool) netip.Prefix {
	if ipv4 {
		return loopbackIPv4
	}
	return netip.PrefixFrom(netip.IPv6Loopback(), 128)
}

// hostPortPart are the host ports by which a pod, here or on another node, is reached from this
// node's pods. They are translated here, so that who sends stays known.
type hostPortPart struct {
	pod   string
	ports []HostPort
}

func (p hostPortPart) owner() flows.Owner { return flows.Owner{Kind: flows.OwnerPod, Name: p.pod} }

func (p hostPortPart) same(other part) bool {
	o, ok := other.(hostPortPart)
	return ok && slices.Equal(p.ports, o.ports)
}

func (p hostPortPart) emit(e *emitter) {
	for _, h := range p.ports {
		port, _ := flows.DstPort(h.Protocol.Number())
		e.flow(flows.Service, prioMatch, flows.RuleHostPort,
			flows.Match{}.Origin(flows.OriginPod).Dst(netip.PrefixFrom(h.Address, h.Address.BitLen())).
				Proto(h.Protocol.Number()).Is(port, flows.Uint(uint64(h.Port))),
			service.Translate(h.Protocol, h.To))
	}
}

// podsHostPorts makes the parts of all nodes' host ports.
func (d *division) podsHostPorts() {
	here := settlePorts(d.claimedPorts(), d.portLost)
	elsewhere := d.portsOfPods()
	ports := map[string][]HostPort{}
	for _, n := range d.state.Nodes {
		served := here
		if n.Name != d.state.Node {
			served = settlePorts(elsewhere[n.Name], func(claimedPort, claimedPort) {})
		}
		if len(served) == 0 {
			continue
		}
		addresses := d.hostAddresses(n)
		for _, c := range served {
			name := c.standing.Of.String()
			ports[name] = append(ports[name], c.at(addresses)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		d.parts = append(d.parts, hostPortPart{name, ports[name]})
	}
}

// portsOfPods are what other nodes' pods want, by node, as far as their objects tell.
func (d *division) portsOfPods() map[string][]claimedPort {
	out := map[string][]claimedPort{}
	for i := range d.state.Pods {
		p := &d.state.Pods[i]
		if len(p.HostPorts) == 0 || p.Node == d.state.Node || !plugged(p) {
			continue
		}
		standing := claims.OfPod(*p)
		standing.Seniority = p.Created
		for _, h := range p.HostPorts {
			out[p.Node] = append(out[p.Node], claimedPort{h, standing, p.Addresses})
		}
	}
	return out
}

// hostAddresses are those by which a node's pods reach it: its InternalIPs, as far as no other Node
// has them, and its gateways. Whoever can write a Pod can write any hostIP.
func (d *division) hostAddresses(n state.Node) []netip.Addr {
	var out []netip.Addr
	for _, a := range n.Addresses {
		if d.nodeAddresses.Holds(a, claims.OfNode(n)) {
			out = append(out, a)
		}
	}
	for _, p := range n.PodCIDRs {
		if d.podCIDRs.Holds(p.Masked(), claims.OfNode(n)) {
			out = append(out, Gateway(p))
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// at is the port on each of the node's addresses on which it is.
func (c claimedPort) at(node []netip.Addr) []HostPort {
	var out []HostPort
	for _, to := range firstOfFamily(c.pod) {
		for _, a := range node {
			if a.Is4() == to.Is4() && c.Serves(to) && (c.Everywhere() || c.Address == a) {
				out = append(out, HostPort{Address: a, Protocol: c.Protocol, Port: c.Port, To: netip.AddrPortFrom(to, c.PodPort)})
			}
		}
	}
	return out
}
