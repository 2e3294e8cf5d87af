package render

import (
	"net"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// podPart is an attachment. Nothing of it is on other nodes.
type podPart struct {
	name   string
	ofport uint32
	// mac is nil if it is nonsense that somebody wrote by hand: no flow then, so no packet.
	mac net.HardwareAddr
	// addresses are those that the attachment has, not what it claims.
	addresses []netip.Addr
}

// pod is an attachment's part.
func (d *division) pod(a state.Attachment) podPart {
	p := podPart{name: AttachmentName(a), ofport: a.OFPort}
	var err error
	if p.mac, err = net.ParseMAC(a.MAC); err != nil {
		d.conflicts = append(d.conflicts, claims.Conflict{On: claims.OnMAC, Key: a.MAC, Loser: claims.OfAttachment(a).Of})
		return p
	}
	for _, addr := range a.Addresses {
		if d.addresses.Holds(addr, claims.OfAttachment(a)) {
			p.addresses = append(p.addresses, addr)
		} else {
			d.lost(claims.OnAddress, addr, claims.OfAttachment(a), d.addresses.Holder(addr))
		}
	}
	return p
}

func (p podPart) owner() flows.Owner { return flows.Owner{Kind: flows.OwnerPod, Name: p.name} }

func (p podPart) same(other part) bool {
	o, ok := other.(podPart)
	return ok && p.ofport == o.ofport && slices.Equal(p.mac, o.mac) && slices.Equal(p.addresses, o.addresses)
}

func (p podPart) emit(e *emitter) {
	if p.mac == nil {
		return
	}
	from := flows.Match{}.InPort(p.ofport)
	e.flow(flows.Classify, prioMatch, flows.RuleEnter, from,
		flows.SetBits(flows.RegOrigin, uint64(flows.OriginPod), uint64(flows.OriginPod)), flows.Goto{Table: flows.SpoofGuard})
	e.flow(flows.SpoofGuard, prioDrop, flows.RuleSpoofed, from.IPv4())
	e.flow(flows.SpoofGuard, prioDrop, flows.RuleSpoofed, from.IPv6())
	e.flow(flows.SpoofGuard, prioDrop, flows.RuleSpoofedARP, from.ARP())
	// A kernel asks from its link-local address, also in a pod that has no other of ours.
	e.flow(flows.SpoofGuard, prioOwnNA, flows.RuleSpeaksNS, solicits(from.EthSrc(p.mac).Src(linkLocalIPv6)), flows.Goto{Table: flows.ARP})
	for _, addr := range p.addresses {
		p.emitAddress(e, addr)
	}
	e.flow(flows.Output, prioMatch, flows.RuleSend, flows.Match{}.Is(flows.RegOutput, flows.Uint(uint64(p.ofport))),
		flows.Set(flows.EthSrc, flows.MAC(RouterMAC)), flows.Set(flows.EthDst, flows.MAC(p.mac)), flows.OutputTo{Port: p.ofport})
	hairpin(e, p.ofport, familiesOf(p.addresses), p.mac)
}

func (p podPart) emitAddress(e *emitter, addr netip.Addr) {
	host := netip.PrefixFrom(addr, addr.BitLen())
	from := flows.Match{}.InPort(p.ofport)
	speaks := from.EthSrc(p.mac).Src(host)
	e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaks, speaks, flows.Goto{Table: flows.Conntrack})
	if addr.Is4() {
		e.flow(flows.SpoofGuard, prioMatch, flows.RuleSpeaksARP,
			from.ARP().EthSrc(p.mac).Is(flows.ARPSpa, flows.IP(addr)).Is(flows.ARPSha, flows.MAC(p.mac)), flows.Goto{Table: flows.ARP})
	} else {
		e.flow(flows.SpoofGuard, prioOwnNA, flows.RuleSpeaksNS, solicits(from.EthSrc(p.mac).Src(host)), flows.Goto{Table: flows.ARP})
		e.flow(flows.SpoofGuard, prioOwnNA, flows.RuleSpeaksNA,
			aboutTarget(speaks.Proto(flows.ProtoICMPv6).Is(flows.ICMPv6Type, flows.Uint(icmp6NeighbourAdvert)), addr),
			flows.Goto{Table: flows.Destination})
	}
	e.flow(flows.Destination, prioHere, flows.RuleDeliver, flows.Match{}.Dst(host), output(p.ofport)...)
	p.believe(e, addr)
}
