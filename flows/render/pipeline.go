package render

import (
	"net"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/service"
)

// pipelinePart is what is the same on every node: each table's end, the virtual
// router's answers, the tunnel and the gateway as ways in and out.
type pipelinePart struct {
	// clusterCIDRs are sorted, each once.
	clusterCIDRs []netip.Prefix
	// serviceCIDRs likewise.
	serviceCIDRs []netip.Prefix
	// tunnelPort is the tunnels' UDP port.
	tunnelPort uint16
}

func (pipelinePart) owner() flows.Owner { return flows.Owner{Kind: flows.OwnerPipeline} }

func (p pipelinePart) same(other part) bool {
	o, ok := other.(pipelinePart)
	return ok && p.tunnelPort == o.tunnelPort && slices.Equal(p.clusterCIDRs, o.clusterCIDRs) && slices.Equal(p.serviceCIDRs, o.serviceCIDRs)
}

func (p pipelinePart) emit(e *emitter) {
	for _, t := range flows.Pipeline {
		if t.Built && !ends(t.ID) {
			e.flow(t.ID, prioMiss, flows.RuleMiss, nil)
		}
	}
	e.flow(flows.Classify, prioMatch, flows.RuleEnter, flows.Match{}.InPort(flows.PortTunnel), flows.Goto{Table: flows.SpoofGuard})
	e.flow(flows.Classify, prioMatch, flows.RuleEnter, flows.Match{}.InPort(flows.PortGateway), flows.Goto{Table: flows.SpoofGuard})

	// A tunnel packet that no node's flow believes.
	e.flow(flows.SpoofGuard, prioDrop, flows.RuleForeignTunnel, flows.Match{}.InPort(flows.PortTunnel))
	// The host speaks with its own addresses, and forwards for what is outside;
	// the gateway's and the nodes' flows take the pods' addresses out.
	e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaks, flows.Match{}.InPort(flows.PortGateway).IPv4(), flows.Goto{Table: flows.Conntrack})
	e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaks, flows.Match{}.InPort(flows.PortGateway).IPv6(), flows.Goto{Table: flows.Conntrack})
	e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaksARP, flows.Match{}.InPort(flows.PortGateway).ARP(), flows.Goto{Table: flows.ARP})

	// The host asks as any pod may; its words go no further.
	e.flow(flows.SpoofGuard, prioRouters, flows.RuleSpeaksNS, solicits(flows.Match{}.InPort(flows.PortGateway)), flows.Goto{Table: flows.ARP})

	e.flow(flows.ARP, prioMatch, flows.RuleRouterARP,
		flows.Match{}.ARP().Is(flows.ARPOp, flows.Uint(1)).Is(flows.ARPTpa, flows.IP(Router)), arpReply(Router, RouterMAC)...)
	// The kernel's datapath refuses to write the fields of an advertisement, so this
	// answer is the agent's. Pods and the host have a permanent neighbour and rarely ask.
	e.flow(flows.ARP, prioMatch, flows.RuleRouterND,
		aboutTarget(solicits(flows.Match{}), RouterIPv6), flows.Controller{MaxLen: flows.WholePacket})
	e.flow(flows.ARP, prioDrop, flows.RuleOtherND, solicits(flows.Match{}))

	// Pure layer 3: nothing is flooded.
	for _, p := range []string{"224.0.0.0/4", "255.255.255.255/32", "ff00::/8"} {
		e.flow(flows.Destination, prioMulticast, flows.RuleGroupAddress, flows.Match{}.Dst(netip.MustParsePrefix(p)))
	}
	e.flow(flows.Destination, prioMulticast, flows.RuleLinkLocal, flows.Match{}.Dst(linkLocalIPv6))
	// Where host ports answer on 127.0.0.1, the host takes what comes by the gateway for it.
	e.flow(flows.Destination, prioMulticast, flows.RuleNobody, flows.Match{}.Dst(loopbackIPv4))
	e.flow(flows.Destination, prioNotHere, flows.RuleNotHere, flows.Match{}.InPort(flows.PortTunnel))
	for _, p := range p.clusterCIDRs {
		e.flow(flows.Destination, prioCluster, flows.RuleNobody, flows.Match{}.Dst(p))
	}
	e.flow(flows.Destination, prioNobody, flows.RuleNobody, flows.Match{}.InPort(flows.PortGateway))
	for _, p := range p.serviceCIDRs {
		e.flow(flows.Service, prioCommit, flows.RuleRefuse, flows.Match{}.Dst(p), service.Refuse(p.Addr().Is6())...)
	}

	// One flow a family: dec_ttl needs to know the packet's.
	for _, m := range families(flows.Match{}) {
		e.flow(flows.Output, prioMatch, flows.RuleSend, m.Is(flows.RegOutput, flows.Uint(uint64(flows.PortTunnel))),
			flows.DecTTL{}, flows.OutputTo{Port: flows.PortTunnel})
	}
	p.distrust(e)
	track(e)
	answers(e)
}

// ICMP types by which a router speaks, and a neighbour (RFC 792, 1256, 4443, 4861).
const (
	icmpUnreachable         = 3
	icmp6Unreachable        = 1
	icmpRedirect            = 5
	icmpRouterAdvertisement = 9
	icmp6RouterAdvert       = 134
	icmp6NeighbourSolicit   = 135
	icmp6NeighbourAdvert    = 136
	icmp6Redirect           = 137
)

// distrust emits what no pod may send, whoever it is: the words of a router or a DHCP
// server, those of another's neighbour (a pod's own flows let its own through), what is
// for the link alone, and tunnel packets. These would leave with the node's address by
// the masquerade, and be believed by its peers.
func (p pipelinePart) distrust(e *emitter) {
	v4 := flows.Match{}.Origin(flows.OriginPod).IPv4().Proto(flows.ProtoICMP)
	v6 := flows.Match{}.Origin(flows.OriginPod).IPv6().Proto(flows.ProtoICMPv6)
	for _, m := range []flows.Match{
		v4.Is(flows.ICMPType, flows.Uint(icmpRedirect)), v4.Is(flows.ICMPType, flows.Uint(icmpRouterAdvertisement)),
		v6.Is(flows.ICMPv6Type, flows.Uint(icmp6Redirect)), v6.Is(flows.ICMPv6Type, flows.Uint(icmp6RouterAdvert)),
	} {
		e.flow(flows.SpoofGuard, prioRouters, flows.RuleRedirect, m)
	}
	e.flow(flows.SpoofGuard, prioRouters, flows.RuleForeignNA, v6.Is(flows.ICMPv6Type, flows.Uint(icmp6NeighbourAdvert)))

	// Offers and acknowledgements come from the server's port (RFC 2131, RFC 8415). Only what opens
	// a connection is asked: else a bit of the port would be in all cached flows of UDP.
	for _, m := range []flows.Match{
		flows.Match{}.Origin(flows.OriginPod).IPv4().Proto(flows.ProtoUDP).Is(flows.UDPSrc, flows.Uint(67)).Is(flows.UDPDst, flows.Uint(68)),
		flows.Match{}.Origin(flows.OriginPod).IPv6().Proto(flows.ProtoUDP).Is(flows.UDPSrc, flows.Uint(547)).Is(flows.UDPDst, flows.Uint(546)),
	} {
		e.flow(flows.State, prioOffer, flows.RuleDHCPOffer, m.Tracked(flows.CTNew, 0))
	}
	// What every kernel with IPv6 says on a link, to whoever is there: no spoofing, and
	// nobody's business.
	for _, src := range []netip.Prefix{linkLocalIPv6, unspecifiedIPv6} {
		e.flow(flows.SpoofGuard, prioLinkLocal, flows.RuleLinkLocal, flows.Match{}.Origin(flows.OriginPod).Src(src))
	}

	// Asked last of all, of what the host will have: the port narrows no other cached flow.
	// What comes by tunnel for this node's own address is a pod's, too.
	out := flows.Match{}.Is(flows.RegOutput, flows.Uint(uint64(flows.PortGateway)))
	for _, m := range families(out) {
		e.flow(flows.Output, prioOwn, flows.RuleTunnelPort,
			m.Proto(flows.ProtoUDP).Is(flows.UDPDst, flows.Uint(uint64(p.tunnelPort))))
	}
}

// Sources of what is said on one link alone (RFC 4291).
var (
	linkLocalIPv6   = netip.MustParsePrefix("fe80::/10")
	unspecifiedIPv6 = netip.MustParsePrefix("::/128")
)

// loopbackIPv4 is every machine's own (RFC 1122, section 3.2.1.3).
var loopbackIPv4 = netip.MustParsePrefix("127.0.0.0/8")

// solicits narrows a match to neighbour solicitations.
func solicits(m flows.Match) flows.Match {
	return m.IPv6().Proto(flows.ProtoICMPv6).Is(flows.ICMPv6Type, flows.Uint(icmp6NeighbourSolicit))
}

// aboutTarget narrows a match of solicitations or advertisements to one target. The code
// must be matched with it: without, Open vSwitch leaves the target out of the kernel's
// cached flow (odp-util.c), and what comes next for another target goes the same way
// (seen).
func aboutTarget(m flows.Match, target netip.Addr) flows.Match {
	return m.Is(flows.ICMPv6Code, flows.Uint(0)).Is(flows.NDTarget, flows.IP(target))
}

// families are the match for IPv4 and for IPv6.
func families(m flows.Match) []flows.Match { return []flows.Match{m.IPv4(), m.IPv6()} }

// arpReply turns an ARP request into the answer and sends it back.
func arpReply(addr netip.Addr, mac net.HardwareAddr) []flows.Action {
	return []flows.Action{
		flows.Copy(flows.EthSrc, flows.EthDst),
		flows.Set(flows.EthSrc, flows.MAC(mac)),
		flows.Set(flows.ARPOp, flows.Uint(2)),
		flows.Copy(flows.ARPSha, flows.ARPTha),
		flows.Copy(flows.ARPSpa, flows.ARPTpa),
		flows.Set(flows.ARPSha, flows.MAC(mac)),
		flows.Set(flows.ARPSpa, flows.IP(addr)),
		flows.OutputTo{Port: flows.PortInPort},
	}
}

// output chooses the port by which a packet leaves, if the policies let it.
func output(port uint32) []flows.Action {
	return []flows.Action{flows.Set(flows.RegOutput, flows.Uint(uint64(port))), flows.Goto{Table: flows.EgressAdmin}}
}
