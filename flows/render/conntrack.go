package render

import (
	"net/netip"

	"github.com/sluice-cni/sluice/flows"
)

// Priorities in the tables state and commit.
const (
	prioAnswer  = 110
	prioInvalid = 100
	prioRelated = 95
	prioReply   = 90
	prioKnown   = 85
	prioOffer   = 80
	prioServed  = 20
	prioPorts   = 10
	prioCommit  = 5
)

// ends tells whether a table has an end of its own: where what nothing else matches goes on, or
// is dropped for a reason.
func ends(t flows.TableID) bool {
	return t == flows.ICMPErrors || t == flows.Service || t == flows.EgressNAT || t == flows.Commit || t.Judges()
}

// track emits the connection tracking that is the same for all: everything is looked up,
// and what opens a connection is remembered once nobody has dropped it. The packets of a
// connection that is remembered are told by three bits of ct_state: no cached flow has an
// address or a port because of it.
func track(e *emitter) {
	for _, m := range families(flows.Match{}) {
		e.flow(flows.Conntrack, prioMatch, flows.RuleTrack, m, flows.CT{Zone: flows.ZonePods, Recirculate: true, Table: flows.State, Exec: []flows.Action{flows.NAT{}}})

		e.flow(flows.State, prioInvalid, flows.RuleInvalid, m.Tracked(flows.CTInvalid, 0))
		e.flow(flows.State, prioRelated, flows.RuleError, m.Tracked(flows.CTRelated, 0).Origin(flows.OriginPod), flows.Resubmit{Table: flows.ICMPErrors})
		e.flow(flows.State, prioReply, flows.RuleKnown, m.Tracked(flows.CTReply, flows.CTInvalid), known(flows.ConnectionReply)...)
		e.flow(flows.State, prioKnown, flows.RuleKnown, m.Tracked(flows.CTEstablished, 0), known(0)...)
		e.flow(flows.State, prioKnown, flows.RuleKnown, m.Tracked(flows.CTRelated, 0), known(0)...)
		served(e, m)
		e.flow(flows.State, prioCommit, flows.RuleNew, m, flows.Goto{Table: flows.Service})

		e.flow(flows.Commit, prioCommit, flows.RuleCommit, m.Tracked(flows.CTNew, 0), flows.CT{Commit: true, Zone: flows.ZonePods}, flows.Goto{Table: flows.Output})
	}
	// An advertisement is of no connection: the userspace datapath finds it invalid. Whose it
	// is the spoof guard has seen.
	e.flow(flows.Conntrack, prioOwn, flows.RuleSpeaksNA,
		flows.Match{}.IPv6().Proto(flows.ProtoICMPv6).Is(flows.ICMPv6Type, flows.Uint(icmp6NeighbourAdvert)),
		flows.Goto{Table: flows.Destination})
	e.flow(flows.ICMPErrors, prioMiss, flows.RuleForeignError, nil)
	e.flow(flows.Service, prioMiss, flows.RuleMiss, nil, flows.Goto{Table: flows.Destination})
	e.flow(flows.EgressNAT, prioMiss, flows.RuleMiss, nil, flows.Goto{Table: flows.Commit})
	e.flow(flows.Commit, prioMiss, flows.RuleMiss, nil, flows.Goto{Table: flows.Output})
	for _, proto := range []uint64{flows.ProtoTCP, flows.ProtoUDP, flows.ProtoSCTP} {
		remember(e, flows.Match{}.IPv4().Proto(proto), proto, flows.IPv4Dst, flows.CTLabel.From(0, 32))
		remember(e, flows.Match{}.IPv6().Proto(proto), proto, flows.IPv6Dst, flows.CTLabel.All())
	}
}

// served emits what becomes of a connection that a Service has given to a backend: there is nothing more
// to remember when it is opened, and until it is answered its packets go to the same backend, also
// where the Service would choose another by now. They are translated already in userspace; the kernel
// translates what has not been answered only when it is to be remembered (net/openvswitch, ovs_ct_nat).
func served(e *emitter, m flows.Match) {
	mark := flows.Uint(flows.CTMarkService)
	e.flow(flows.State, prioServed, flows.RuleServed, m.Tracked(flows.CTNew|flows.CTDestNAT, 0).Masked(flows.CTMark, mark, mark), flows.Goto{Table: flows.Destination})
	e.flow(flows.State, prioServed, flows.RuleServed, m.Tracked(flows.CTNew, flows.CTDestNAT).Masked(flows.CTMark, mark, mark),
		flows.CT{Commit: true, Recirculate: true, Table: flows.Destination, Zone: flows.ZonePods, Exec: []flows.Action{flows.NAT{Kind: flows.NATDestination}}})
	e.flow(flows.Commit, prioServed, flows.RuleRemembered, m.Tracked(flows.CTNew, 0).Masked(flows.CTMark, mark, mark), flows.Goto{Table: flows.Output})
}

// known are the actions on a packet of a remembered connection.
func known(bits uint64) []flows.Action {
	bits |= flows.ConnectionKnown
	return []flows.Action{flows.SetBits(flows.RegConnection, bits, bits), flows.Goto{Table: flows.Destination}}
}

// remember emits the commit of a connection that policies have judged: the responder's port and
// address go with it, for the packets that carry them no more. A fragment that opens a
// connection has no port (userspace datapath).
func remember(e *emitter, m flows.Match, proto uint64, dst flows.Field, label flows.Subfield) {
	port, _ := flows.DstPort(proto)
	m = m.Tracked(flows.CTNew, 0).Is(flows.IPFrag, flows.Uint(0)).
		Masked(flows.RegConnection, flows.Uint(flows.ConnectionJudged), flows.Uint(flows.ConnectionJudged))
	mark := flows.CTMarkValid | proto<<16
	e.flow(flows.Commit, prioPorts, flows.RuleCommit, m, flows.CT{Commit: true, Zone: flows.ZonePods, Exec: []flows.Action{
		flows.SetBits(flows.CTMark, mark, flows.CTMarkValid|0xff0000),
		flows.Move{From: port.All(), To: flows.CTMark.From(0, 16)},
		flows.Move{From: dst.All(), To: label},
	}}, flows.Goto{Table: flows.Output})
}

// believe emits whose ICMP errors a pod's are: those about a connection to it. What it says of one
// that it opened itself nobody needs, and whose it is cannot be read from such a packet on
// the kernel's datapath.
func (p podPart) believe(e *emitter, addr netip.Addr) {
	from := flows.Match{}.InPort(p.ofport).Family(addr).Tracked(flows.CTRelated|flows.CTReply, flows.CTInvalid)
	label, tuple := flows.CTLabel, flows.CTIPv6Dst
	value, mask := flows.IP(addr), flows.CTLabel.Ones()
	if addr.Is4() {
		tuple, mask = flows.CTNwDst, flows.LowBits(32)
	}
	marked := func(valid uint64) flows.Match {
		return from.Masked(flows.CTMark, flows.Uint(valid), flows.Uint(flows.CTMarkValid))
	}
	e.flow(flows.ICMPErrors, prioMatch, flows.RuleError, marked(flows.CTMarkValid).Masked(label, value, mask), known(flows.ConnectionReply)...)
	e.flow(flows.ICMPErrors, prioMatch, flows.RuleError, marked(0).Is(tuple, flows.IP(addr)), known(flows.ConnectionReply)...)
}
