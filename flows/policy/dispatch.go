package policy

import (
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// MaxPolicies is how many policies a pod is judged by in one direction: a packet may be
// resubmitted 4,096 times on its way (Open vSwitch, MAX_RESUBMITS), by the policies of both
// ends, and a message holds 64 KiB. A pod that more select is isolated whole.
const MaxPolicies = 1800

// Priorities in the tables of the tiers.
const (
	prioMiss     = 0
	prioDispatch = 100
	prioCalls    = 100
	prioRelated  = 110
	prioIsolated = 150
	prioVerdict  = 200
	prioItself   = 300
)

// way is how packets of a direction pass a tier.
type way struct {
	direction state.Direction
	// table has the dispatch, next acts on the verdict.
	table, next flows.TableID
	rule        flows.Rule
}

var ways = []way{
	{state.Egress, flows.EgressPolicy, flows.EgressBaseline, flows.RuleEgressIsolated},
	{state.Ingress, flows.IngressPolicy, flows.IngressBaseline, flows.RuleIngressIsolated},
}

// original are the packets that pass as the connection was opened, replies the others: for egress the
// pod is where the former come from and the latter go to.
func (w way) original(l *local) flows.Match { return w.port(l, w.direction == state.Egress) }

func (w way) replies(l *local) flows.Match { return w.port(l, w.direction != state.Egress) }

func (w way) port(l *local, in bool) flows.Match {
	if in {
		return flows.Match{}.InPort(l.ofport)
	}
	return flows.Match{}.Is(flows.RegOutput, flows.Uint(uint64(l.ofport)))
}

// judged says that a new connection must be remembered with its port and address.
var judged = flows.SetBits(flows.RegConnection, flows.ConnectionJudged, flows.ConnectionJudged)

// list is the number by which a pod's list of policies is called, in the table Calls.
func (w way) list(l *local) flows.Value { return flows.Uint(uint64(w.table)<<16 | uint64(l.ofport)) }

// calls makes a pod's list of policies, the one flow of the pod's that changes with it. The numbers are
// those of their blocks.
func (w way) calls(e *emitter, l *local, numbers []uint32) {
	rule := flows.RuleCalls
	if len(numbers) > MaxPolicies {
		rule, numbers = flows.RuleCrowd, nil
	}
	var actions []flows.Action
	for _, n := range numbers {
		actions = append(actions, flows.Set(flows.RegPolicy, flows.Uint(uint64(n))), flows.Resubmit{Table: flows.Policies})
	}
	e.flow(flows.Calls, prioCalls, rule, flows.Match{}.Is(flows.RegPolicy, w.list(l)), actions...)
}

// dispatch makes the flows of a pod that policies select in a direction: the same, whichever they are.
func (w way) dispatch(e *emitter, l *local) {
	tail := []flows.Action{
		flows.Resubmit{Table: flows.Addresses},
		flows.Set(flows.RegPolicy, w.list(l)), flows.Resubmit{Table: flows.Calls},
		flows.Goto{Table: w.next},
	}
	head := flows.Set(flows.RegVerdict, flows.Uint(flows.Undecided))
	for _, f := range families {
		fresh := f.match(w.original(l)).Masked(flows.RegConnection, flows.Uint(0), flows.Uint(flows.ConnectionKnown))
		e.flow(w.table, prioDispatch, flows.RuleDispatch, fresh, join(tail, head, judged, f.packet(w.direction))...)
		for _, reply := range []bool{false, true} {
			m := f.match(w.original(l))
			bits := flows.ConnectionKnown
			if reply {
				m, bits = f.match(w.replies(l)), bits|flows.ConnectionReply
			}
			m = m.Masked(flows.RegConnection, flows.Uint(bits), flows.Uint(flows.ConnectionKnown|flows.ConnectionReply)).
				Tracked(0, flows.CTInvalid)
			for _, valid := range []uint64{0, flows.CTMarkValid} {
				from := m.Masked(flows.CTMark, flows.Uint(valid), flows.Uint(flows.CTMarkValid))
				e.flow(w.table, prioDispatch, flows.RuleDispatch, from, join(tail, append([]flows.Action{head}, f.remembered(w.direction, valid != 0)...)...)...)
			}
		}
	}
	for _, reply := range []uint64{0, flows.ConnectionReply} {
		m := w.original(l)
		if reply != 0 {
			m = w.replies(l)
		}
		e.flow(w.next, prioIsolated, w.rule, m.Masked(flows.RegConnection, flows.Uint(reply), flows.Uint(flows.ConnectionReply)).
			Is(flows.RegVerdict, flows.Uint(flows.Undecided)))
	}
	e.flow(w.table, prioItself, flows.RuleItself, flows.Match{}.InPort(l.ofport).Is(flows.RegOutput, flows.Uint(uint64(l.ofport))), flows.Goto{Table: afterNext(w)})
	if w.direction == state.Ingress {
		w.related(e, l)
	}
}

// related: an ICMP error about the pod's own reply, from a router or a node, is not judged: of
// such a packet the opener's address cannot be read, and it says nothing that the pod did
// not ask for.
func (w way) related(e *emitter, l *local) {
	for _, f := range families {
		m := f.match(w.original(l)).Tracked(flows.CTRelated, flows.CTReply|flows.CTInvalid)
		e.flow(w.table, prioRelated, flows.RuleDispatch, m, flows.Goto{Table: afterNext(w)})
	}
}

// afterNext is where a packet goes on that the direction's tiers allow.
func afterNext(w way) flows.TableID { return w.next + 1 }

func join(tail []flows.Action, head ...flows.Action) []flows.Action {
	return append(head[:len(head):len(head)], tail...)
}

// family is what differs between IPv4 and IPv6.
type family struct {
	match    func(flows.Match) flows.Match
	src, dst flows.Field
	peer     flows.Subfield
	// responder is where a connection's mark is valid, untranslated where it is not.
	responder, untranslated, openerSrc flows.Subfield
}

var families = []family{
	{
		match: flows.Match.IPv4, src: flows.IPv4Src, dst: flows.IPv4Dst, peer: flows.RegPeer.All(),
		responder: flows.CTLabel.From(0, 32), untranslated: flows.CTNwDst.All(), openerSrc: flows.CTNwSrc.All(),
	},
	{
		match: flows.Match.IPv6, src: flows.IPv6Src, dst: flows.IPv6Dst, peer: flows.RegPeerIPv6.All(),
		responder: flows.CTLabel.All(), untranslated: flows.CTIPv6Dst.All(), openerSrc: flows.CTIPv6Src.All(),
	},
}

// packet loads the other end's address of a new connection.
func (f family) packet(d state.Direction) flows.Action {
	if d == state.Egress {
		return flows.Move{From: f.dst.All(), To: f.peer}
	}
	return flows.Move{From: f.src.All(), To: f.peer}
}

// remembered loads a known connection's port, and the address of its other end: the responder's
// real one from ct_label, the opener's from conntrack's tuple. Where the mark says nothing (a
// connection that was not judged when it began, or has no ports, or began by a fragment), the
// tuple has all: nothing has been translated then.
func (f family) remembered(d state.Direction, mark bool) []flows.Action {
	var out []flows.Action
	if mark {
		out = append(out, flows.Move{From: flows.CTMark.From(0, 24), To: flows.RegPort.From(0, 24)})
	} else {
		out = append(out,
			flows.Move{From: flows.CTTPDst.All(), To: flows.RegPort.From(0, 16)},
			flows.Move{From: flows.CTNwProto.All(), To: flows.RegPort.From(16, 8)})
	}
	switch {
	case d == state.Ingress:
		return append(out, flows.Move{From: f.openerSrc, To: f.peer})
	case mark:
		return append(out, flows.Move{From: f.responder, To: f.peer})
	}
	return append(out, flows.Move{From: f.untranslated, To: f.peer})
}
