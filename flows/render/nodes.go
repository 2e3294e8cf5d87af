package render

import (
	"net"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// gatewayPart is what this node's own addresses need.
type gatewayPart struct {
	node     string
	podCIDRs []netip.Prefix
}

func (g gatewayPart) owner() flows.Owner { return flows.Owner{Kind: flows.OwnerGateway, Name: g.node} }

func (g gatewayPart) same(other part) bool {
	o, ok := other.(gatewayPart)
	return ok && slices.Equal(g.podCIDRs, o.podCIDRs)
}

func (g gatewayPart) emit(e *emitter) {
	mac := gatewayMAC(g.podCIDRs)
	for _, p := range g.podCIDRs {
		gw := Gateway(p)
		host := netip.PrefixFrom(gw, gw.BitLen())
		from := flows.Match{}.InPort(flows.PortGateway)
		e.flow(flows.SpoofGuard, prioOwn, flows.RuleSpeaks, from.Src(host), flows.Goto{Table: flows.Conntrack})
		e.flow(flows.SpoofGuard, prioForeign, flows.RuleSpoofed, from.Src(p))
		e.flow(flows.Destination, prioHere, flows.RuleDeliver, flows.Match{}.Dst(host), output(flows.PortGateway)...)
		// An address of this node's range that no pod has: not to the host, which
		// would send it back.
		e.flow(flows.Destination, routeBase+uint16(p.Bits()), flows.RuleNobody, flows.Match{}.Dst(p))
	}
	if mac == nil {
		return
	}
	for _, m := range families(flows.Match{}) {
		e.flow(flows.Destination, prioDefault, flows.RuleLeave, m.Origin(flows.OriginPod), output(flows.PortGateway)...)
		// What the host sends to a Service whose backend is itself, or out of the cluster.
		e.flow(flows.Destination, prioServed, flows.RuleLeave,
			m.InPort(flows.PortGateway).Masked(flows.CTMark, flows.Uint(flows.CTMarkService), flows.Uint(flows.CTMarkService)), output(flows.PortGateway)...)
	}
	e.flow(flows.Output, prioMatch, flows.RuleSend, flows.Match{}.Is(flows.RegOutput, flows.Uint(uint64(flows.PortGateway))),
		flows.Set(flows.EthSrc, flows.MAC(RouterMAC)), flows.Set(flows.EthDst, flows.MAC(mac)), flows.OutputTo{Port: flows.PortGateway})
	var own []netip.Addr
	for _, p := range g.podCIDRs {
		own = append(own, p.Addr())
	}
	hairpin(e, flows.PortGateway, familiesOf(own), mac)
}

// gatewayMAC is the MAC of the gateway port: that of its address in the first IPv4
// podCIDR, or the first if there is none; nil without podCIDRs.
func gatewayMAC(podCIDRs []netip.Prefix) net.HardwareAddr {
	var gateways []netip.Addr
	for _, p := range podCIDRs {
		gateways = append(gateways, Gateway(p))
	}
	if first := firstOfFamily(gateways); len(first) > 0 {
		return MAC(first[0])
	}
	return nil
}

// nodePart is what another node needs: a constant number of flows for each of its
// podCIDRs, none for its pods.
type nodePart struct {
	node     string
	podCIDRs []netip.Prefix
	// tunnel is the way to it. Local is invalid where the tunnel port has one address
	// only, and sends by it; sources are the addresses that its tunnel packets may come
	// from.
	tunnel  Tunnel
	sources []netip.Addr
}

// node is another node's part. It may speak with any of its addresses of the tunnels'
// family: which one it has on a device its peers do not know.
func (d *division) node(n state.Node) nodePart {
	p := nodePart{node: n.Name, podCIDRs: d.podCIDRsOf(n), tunnel: TunnelTo(n, d.state)}
	if len(tunnelEnds(d.state)) < 2 {
		p.tunnel.Local = netip.Addr{}
	}
	for _, a := range n.Addresses {
		if a.Is4() == p.tunnel.Remote.Is4() && !slices.Contains(p.sources, a) {
			p.sources = append(p.sources, a)
		}
	}
	return p
}

func (p nodePart) owner() flows.Owner { return flows.Owner{Kind: flows.OwnerNode, Name: p.node} }

func (p nodePart) same(other part) bool {
	o, ok := other.(nodePart)
	return ok && p.tunnel == o.tunnel && slices.Equal(p.podCIDRs, o.podCIDRs) && slices.Equal(p.sources, o.sources)
}

func (p nodePart) emit(e *emitter) {
	for _, c := range p.podCIDRs {
		route := routeBase + uint16(c.Bits())
		e.flow(flows.SpoofGuard, prioForeign, flows.RuleSpoofed, flows.Match{}.InPort(flows.PortGateway).Src(c))
		if !p.tunnel.Remote.IsValid() {
			e.flow(flows.Destination, route, flows.RuleNobody, flows.Match{}.Dst(c))
			continue
		}
		for _, a := range p.sources {
			e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaks,
				flows.Match{}.InPort(flows.PortTunnel).TunSrc(a).Src(c), flows.Goto{Table: flows.Conntrack})
		}
		e.flow(flows.Destination, route, flows.RuleRoute, flows.Match{}.Dst(c), append(p.tunnel.set(), output(flows.PortTunnel)...)...)
	}
}

// set gives a packet the ends of its tunnel.
func (t Tunnel) set() []flows.Action {
	src, dst := flows.TunSrc, flows.TunDst
	if t.Remote.Is6() {
		src, dst = flows.TunIPv6Src, flows.TunIPv6Dst
	}
	out := []flows.Action{flows.Set(dst, flows.IP(t.Remote))}
	if t.Local.IsValid() {
		out = append(out, flows.Set(src, flows.IP(t.Local)))
	}
	return out
}
