package render

import (
	"net"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// Result is what a node's switch must hold.
type Result struct {
	// Flows in their stable order, one of a key.
	Flows []flows.Flow
	// Groups in the order of their numbers.
	Groups []flows.Group
	// Owners leads from a cookie without its rule to the object.
	Owners map[flows.Cookie]flows.Owner
	// Conflicts are claims that lost, in words, in a stable order.
	Conflicts []string
}

// Tables renders the flows of the node s.Node.
func Tables(s state.State) Result {
	r := &renderer{state: s, owners: make(map[flows.Cookie]flows.Owner)}
	r.settle()
	r.pipeline()
	if n, ok := r.self(); ok {
		r.gateway(n)
	}
	for _, n := range r.peers() {
		r.node(n)
	}
	for _, a := range r.attachments() {
		r.pod(a)
	}
	flows.Sort(r.flows)
	return Result{Flows: r.flows, Owners: r.owners, Conflicts: r.conflicts}
}

// renderer gathers the flows of one render.
type renderer struct {
	state     state.State
	flows     []flows.Flow
	owners    map[flows.Cookie]flows.Owner
	conflicts []string

	podCIDRs  claims.Book[netip.Prefix]
	addresses claims.Book[netip.Addr]
	ports     claims.Book[uint32]
}

// emitter writes one owner's flows.
type emitter struct {
	r     *renderer
	owner flows.Owner
}

func (r *renderer) owner(kind flows.OwnerKind, name string) emitter {
	o := flows.Owner{Kind: kind, Name: name}
	r.owners[o.Cookie(0)] = o
	return emitter{r, o}
}

func (e emitter) flow(t flows.TableID, priority uint16, rule flows.Rule, m flows.Match, actions ...flows.Action) {
	e.r.flows = append(e.r.flows, flows.Flow{
		Table: t, Priority: priority, Cookie: e.owner.Cookie(rule), Match: m, Actions: actions,
	})
}

// Priorities within a table: what is more particular is higher. Routes stand at
// routeBase plus their prefix length, so that the longest wins.
const (
	prioMiss      = 0
	prioDefault   = 1
	prioNobody    = 10
	prioDrop      = 50
	prioCluster   = 60
	prioMatch     = 100
	routeBase     = 100 // .. 228
	prioNotHere   = 300
	prioHere      = 400
	prioMulticast = 500
	prioForeign   = 150
	prioOwn       = 200
	prioRouters   = 300
	prioOwnNA     = 310
)

// pipeline emits what is the same on every node: each table's end, the virtual
// router's answers, the tunnel and the gateway as ways in and out.
func (r *renderer) pipeline() {
	e := r.owner(flows.OwnerPipeline, "")
	for _, t := range flows.Pipeline {
		if t.Built {
			e.flow(t.ID, prioMiss, flows.RuleMiss, nil)
		}
	}
	e.flow(flows.Classify, prioMatch, flows.RuleEnter, flows.Match{}.InPort(flows.PortTunnel), flows.Goto{Table: flows.SpoofGuard})
	e.flow(flows.Classify, prioMatch, flows.RuleEnter, flows.Match{}.InPort(flows.PortGateway), flows.Goto{Table: flows.SpoofGuard})

	// A tunnel packet that no node's flow believes.
	e.flow(flows.SpoofGuard, prioDrop, flows.RuleForeignTunnel, flows.Match{}.InPort(flows.PortTunnel))
	// The host speaks with its own addresses, and forwards for what is outside;
	// gateway() and node() take the pods' addresses out.
	e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaks, flows.Match{}.InPort(flows.PortGateway).IPv4(), flows.Goto{Table: flows.Destination})
	e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaks, flows.Match{}.InPort(flows.PortGateway).IPv6(), flows.Goto{Table: flows.Destination})
	e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaksARP, flows.Match{}.InPort(flows.PortGateway).ARP(), flows.Goto{Table: flows.ARP})

	e.flow(flows.ARP, prioMatch, flows.RuleRouterARP,
		flows.Match{}.ARP().Is(flows.ARPOp, flows.Uint(1)).Is(flows.ARPTpa, flows.IP(Router)), arpReply(Router, RouterMAC)...)

	// Pure layer 3: nothing is flooded.
	for _, p := range []string{"224.0.0.0/4", "255.255.255.255/32", "ff00::/8"} {
		e.flow(flows.Destination, prioMulticast, flows.RuleGroupAddress, flows.Match{}.Dst(netip.MustParsePrefix(p)))
	}
	e.flow(flows.Destination, prioNotHere, flows.RuleNotHere, flows.Match{}.InPort(flows.PortTunnel))
	for _, p := range slices.Compact(slices.SortedFunc(slices.Values(r.state.Config.ClusterCIDRs), comparePrefix)) {
		e.flow(flows.Destination, prioCluster, flows.RuleNobody, flows.Match{}.Dst(p))
	}
	e.flow(flows.Destination, prioNobody, flows.RuleNobody, flows.Match{}.InPort(flows.PortGateway))

	// One flow a family: dec_ttl needs to know the packet's.
	for _, m := range []flows.Match{flows.Match{}.IPv4(), flows.Match{}.IPv6()} {
		e.flow(flows.Output, prioMatch, flows.RuleSend, m.Is(flows.RegOutput, flows.Uint(uint64(flows.PortTunnel))),
			flows.DecTTL{}, flows.OutputTo{Port: flows.PortTunnel})
	}
	r.distrust(e)
}

// ICMP types by which a router speaks, and a neighbour (RFC 792, 1256, 4861).
const (
	icmpRedirect            = 5
	icmpRouterAdvertisement = 9
	icmp6RouterAdvert       = 134
	icmp6NeighbourAdvert    = 136
	icmp6Redirect           = 137
)

// distrust emits what no pod may send, whoever it is: the words of a router, of
// another's neighbour (pod() lets its own through), and tunnel packets. Those would leave
// with the node's address by the masquerade, and be believed by its peers.
func (r *renderer) distrust(e emitter) {
	v4 := flows.Match{}.Origin(flows.OriginPod).IPv4().Is(flows.IPProto, flows.Uint(protoICMP))
	v6 := flows.Match{}.Origin(flows.OriginPod).IPv6().Is(flows.IPProto, flows.Uint(protoICMPv6))
	for _, m := range []flows.Match{
		v4.Is(flows.ICMPType, flows.Uint(icmpRedirect)), v4.Is(flows.ICMPType, flows.Uint(icmpRouterAdvertisement)),
		v6.Is(flows.ICMPType, flows.Uint(icmp6Redirect)), v6.Is(flows.ICMPType, flows.Uint(icmp6RouterAdvert)),
	} {
		e.flow(flows.SpoofGuard, prioRouters, flows.RuleRedirect, m)
	}
	e.flow(flows.SpoofGuard, prioRouters, flows.RuleForeignNA, v6.Is(flows.ICMPType, flows.Uint(icmp6NeighbourAdvert)))

	// Asked last of all, of what the host will have: the port narrows no other cached flow.
	out := flows.Match{}.Origin(flows.OriginPod).Is(flows.RegOutput, flows.Uint(uint64(flows.PortGateway)))
	port := flows.Uint(uint64(TunnelPort(Encapsulation(r.state.Config))))
	for _, m := range []flows.Match{out.IPv4(), out.IPv6()} {
		e.flow(flows.Output, prioOwn, flows.RuleTunnelPort, m.Is(flows.IPProto, flows.Uint(protoUDP)).Is(flows.TPDst, port))
	}
}

// IP protocol numbers.
const (
	protoICMP   = 1
	protoUDP    = 17
	protoICMPv6 = 58
)

// arpReply turns an ARP request into the answer and sends it back.
func arpReply(addr netip.Addr, mac net.HardwareAddr) []flows.Action {
	return []flows.Action{
		flows.Move{From: flows.EthSrc, To: flows.EthDst},
		flows.Set(flows.EthSrc, flows.MAC(mac)),
		flows.Set(flows.ARPOp, flows.Uint(2)),
		flows.Move{From: flows.ARPSha, To: flows.ARPTha},
		flows.Move{From: flows.ARPSpa, To: flows.ARPTpa},
		flows.Set(flows.ARPSha, flows.MAC(mac)),
		flows.Set(flows.ARPSpa, flows.IP(addr)),
		flows.OutputTo{Port: flows.PortInPort},
	}
}

// gateway emits what this node's own addresses need.
func (r *renderer) gateway(n state.Node) {
	e := r.owner(flows.OwnerGateway, n.Name)
	var mac net.HardwareAddr
	for _, p := range r.podCIDRsOf(n) {
		gw := Gateway(p)
		if mac == nil {
			mac = MAC(gw)
		}
		host := netip.PrefixFrom(gw, gw.BitLen())
		from := flows.Match{}.InPort(flows.PortGateway)
		e.flow(flows.SpoofGuard, prioOwn, flows.RuleSpeaks, from.Src(host), flows.Goto{Table: flows.Destination})
		e.flow(flows.SpoofGuard, prioForeign, flows.RuleSpoofed, from.Src(p))
		e.flow(flows.Destination, prioHere, flows.RuleDeliver, flows.Match{}.Dst(host), output(flows.PortGateway)...)
		// An address of this node's range that no pod has: not to the host, which
		// would send it back.
		e.flow(flows.Destination, routeBase+uint16(p.Bits()), flows.RuleNobody, flows.Match{}.Dst(p))
	}
	if mac == nil {
		return
	}
	for _, m := range []flows.Match{flows.Match{}.IPv4(), flows.Match{}.IPv6()} {
		e.flow(flows.Destination, prioDefault, flows.RuleLeave, m.Origin(flows.OriginPod), output(flows.PortGateway)...)
	}
	e.flow(flows.Output, prioMatch, flows.RuleSend, flows.Match{}.Is(flows.RegOutput, flows.Uint(uint64(flows.PortGateway))),
		flows.Set(flows.EthSrc, flows.MAC(RouterMAC)), flows.Set(flows.EthDst, flows.MAC(mac)), flows.OutputTo{Port: flows.PortGateway})
}

// output chooses a port and goes to the table that sends.
func output(port uint32) []flows.Action {
	return []flows.Action{flows.Set(flows.RegOutput, flows.Uint(uint64(port))), flows.Goto{Table: flows.Output}}
}

// node emits what another node needs: a constant number of flows for each of its
// podCIDRs, none for its pods.
func (r *renderer) node(n state.Node) {
	e := r.owner(flows.OwnerNode, n.Name)
	tunnel := TunnelAddress(n, r.state)
	for _, p := range r.podCIDRsOf(n) {
		e.flow(flows.SpoofGuard, prioForeign, flows.RuleSpoofed, flows.Match{}.InPort(flows.PortGateway).Src(p))
		if !tunnel.IsValid() {
			e.flow(flows.Destination, routeBase+uint16(p.Bits()), flows.RuleNobody, flows.Match{}.Dst(p))
			continue
		}
		// It may speak with any of its addresses: which one it has on a device its peers
		// do not know.
		for _, a := range n.Addresses {
			if a.Is4() == tunnel.Is4() {
				e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaks,
					flows.Match{}.InPort(flows.PortTunnel).TunSrc(a).Src(p), flows.Goto{Table: flows.Destination})
			}
		}
		tunDst := flows.TunDst
		if tunnel.Is6() {
			tunDst = flows.TunIPv6Dst
		}
		e.flow(flows.Destination, routeBase+uint16(p.Bits()), flows.RuleRoute, flows.Match{}.Dst(p),
			append([]flows.Action{flows.Set(tunDst, flows.IP(tunnel))}, output(flows.PortTunnel)...)...)
	}
}

// pod emits an attachment's own flows. Nothing of them is on other nodes.
func (r *renderer) pod(a state.Attachment) {
	e := r.owner(flows.OwnerPod, AttachmentName(a))
	hw, err := net.ParseMAC(a.MAC)
	if err != nil { // only what somebody wrote by hand: no flow, so no packet
		r.conflicts = append(r.conflicts, "pod "+AttachmentName(a)+": "+err.Error())
		return
	}
	from := flows.Match{}.InPort(a.OFPort)
	e.flow(flows.Classify, prioMatch, flows.RuleEnter, from,
		flows.SetBits(flows.RegOrigin, uint64(flows.OriginPod), uint64(flows.OriginPod)), flows.Goto{Table: flows.SpoofGuard})
	e.flow(flows.SpoofGuard, prioDrop, flows.RuleSpoofed, from.IPv4())
	e.flow(flows.SpoofGuard, prioDrop, flows.RuleSpoofedARP, from.ARP())
	for _, addr := range a.Addresses {
		if !r.addresses.Holds(addr, claims.OfAttachment(a)) {
			r.conflicts = append(r.conflicts, "address "+addr.String()+": "+AttachmentName(a)+" loses it to a newer holder")
			continue
		}
		host := netip.PrefixFrom(addr, addr.BitLen())
		e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaks, from.EthSrc(hw).Src(host), flows.Goto{Table: flows.Destination})
		if addr.Is6() {
			e.flow(flows.SpoofGuard, prioOwnNA, flows.RuleSpeaksNA,
				from.EthSrc(hw).Src(host).Is(flows.IPProto, flows.Uint(protoICMPv6)).Is(flows.ICMPType, flows.Uint(icmp6NeighbourAdvert)).
					Is(flows.NDTarget, flows.IP(addr)), flows.Goto{Table: flows.Destination})
		} else {
			e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaksARP,
				from.ARP().EthSrc(hw).Is(flows.ARPSpa, flows.IP(addr)).Is(flows.ARPSha, flows.MAC(hw)), flows.Goto{Table: flows.ARP})
		}
		e.flow(flows.Destination, prioHere, flows.RuleDeliver, flows.Match{}.Dst(host), output(a.OFPort)...)
	}
	e.flow(flows.Output, prioMatch, flows.RuleSend, flows.Match{}.Is(flows.RegOutput, flows.Uint(uint64(a.OFPort))),
		flows.Set(flows.EthSrc, flows.MAC(RouterMAC)), flows.Set(flows.EthDst, flows.MAC(hw)), flows.OutputTo{Port: a.OFPort})
}
