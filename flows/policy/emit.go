package policy

import (
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
)

// emitter takes one owner's flows.
type emitter struct {
	owner  flows.Owner
	cookie flows.Cookie
	flows  []flows.Flow
}

func newEmitter(o flows.Owner) *emitter { return &emitter{owner: o, cookie: o.Cookie(0)} }

func (e *emitter) flow(t flows.TableID, priority uint16, rule flows.Rule, m flows.Match, actions ...flows.Action) {
	e.flows = append(e.flows, flows.Flow{Table: t, Priority: priority, Cookie: e.cookie | flows.Cookie(rule), Match: m, Actions: actions})
}

// sorted are the flows in the order of flows.Compare; of those of one key the first stays.
func (e *emitter) sorted() []flows.Flow {
	slices.SortStableFunc(e.flows, flows.Compare)
	e.flows = slices.CompactFunc(e.flows, func(a, b flows.Flow) bool { return flows.Compare(a, b) == 0 })
	return e.flows
}

// static are the flows that are the same on every node: each tier acts on what the one before it
// has decided, and a subroutine that finds nothing returns.
func static() []flows.Flow {
	e := newEmitter(flows.Owner{Kind: flows.OwnerPipeline})
	verdicts := func(t flows.TableID, allowed flows.TableID) {
		e.flow(t, prioVerdict, flows.RuleVerdict, is(flows.Deny))
		e.flow(t, prioVerdict, flows.RuleVerdict, is(flows.Accept), flows.Set(flows.RegVerdict, flows.Uint(flows.Undecided)), flows.Goto{Table: allowed})
	}
	verdicts(flows.EgressPolicy, flows.IngressAdmin)
	verdicts(flows.EgressBaseline, flows.IngressAdmin)
	verdicts(flows.IngressPolicy, flows.EgressNAT)
	verdicts(flows.IngressBaseline, flows.EgressNAT)
	for t := flows.EgressAdmin; t <= flows.IngressBaseline; t++ {
		e.flow(t, prioMiss, flows.RuleMiss, nil, flows.Goto{Table: t + 1})
	}
	e.flow(flows.Policies, prioMiss, flows.RuleMiss, nil)
	e.flow(flows.Calls, prioMiss, flows.RuleMiss, nil)
	nobody := []flows.Action{flows.Set(flows.RegIdentity, flows.Uint(0)), flows.Set(flows.RegNamespace, flows.Uint(0))}
	e.flow(flows.Addresses, prioMiss, flows.RuleMiss, nil, nobody...)
	e.flow(flows.Identities, prioMiss, flows.RuleMiss, nil, nobody...)
	return e.sorted()
}

func is(verdict uint64) flows.Match {
	return flows.Match{}.Is(flows.RegVerdict, flows.Uint(verdict))
}

// Priorities of addresses: a node's own before pods that claim it.
const (
	prioAddress = 10
	prioOwn     = 20
)

// ownNode accepts what this node's own addresses send and receive, in whatever tier asks.
func (c *compiler) ownNode() []flows.Flow {
	e := newEmitter(flows.Owner{Kind: flows.OwnerGateway, Name: c.state.Node})
	for _, a := range c.ownAddresses() {
		e.flow(flows.Addresses, prioOwn, flows.RuleOwnNode, fromPrefix(netip.PrefixFrom(a, a.BitLen())), flows.Set(flows.RegVerdict, flows.Uint(flows.Accept)))
	}
	return e.sorted()
}
