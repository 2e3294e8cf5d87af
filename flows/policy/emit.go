package policy

import (
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
)

// emitter takes one owner's flows.
type emitter struct {
	owner flows.Owner
	flows []flows.Flow
}

func (e *emitter) flow(t flows.TableID, priority uint16, rule flows.Rule, m flows.Match, actions ...flows.Action) {
	e.flows = append(e.flows, flows.Flow{Table: t, Priority: priority, Cookie: e.owner.Cookie(rule), Match: m, Actions: actions})
}

// sorted are the flows in the order of flows.Compare; of those of one key the first stays.
func (e *emitter) sorted() []flows.Flow {
	slices.SortStableFunc(e.flows, flows.Compare)
	return slices.CompactFunc(e.flows, func(a, b flows.Flow) bool { return flows.Compare(a, b) == 0 })
}

// static are the flows that are the same on every node: each tier acts on what the one before it
// has decided, and a subroutine that finds nothing returns.
func static() []flows.Flow {
	e := emitter{owner: flows.Owner{Kind: flows.OwnerPipeline}}
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
	e := emitter{owner: flows.Owner{Kind: flows.OwnerGateway, Name: c.state.Node}}
	for _, a := range c.ownAddresses() {
		e.flow(flows.Addresses, prioOwn, flows.RuleOwnNode, fromPrefix(netip.PrefixFrom(a, a.BitLen())), flows.Set(flows.RegVerdict, flows.Uint(flows.Accept)))
	}
	return e.sorted()
}

// addressFlows lead from an address to its label set, and from that to its identity: a label key
// that is mentioned for the first time changes only the latter.
func (c *compiler) addressFlows() []Owned {
	var out []Owned
	done := map[string]bool{}
	for _, p := range c.peers {
		name := p.labelSet
		set := flows.Uint(uint64(c.labelSets[name]))
		e := emitter{owner: flows.Owner{Kind: flows.OwnerIdentity, Name: p.pod.Namespace + "/" + p.pod.Name}}
		for _, a := range p.addresses {
			e.flow(flows.Addresses, prioAddress, flows.RuleAddress, fromPrefix(netip.PrefixFrom(a, a.BitLen())),
				flows.Set(flows.RegLabels, set), flows.Resubmit{Table: flows.Identities})
		}
		out = append(out, Owned{e.owner, e.sorted()})
		if done[name] {
			continue
		}
		done[name] = true
		i := emitter{owner: flows.Owner{Kind: flows.OwnerIdentity, Name: name}}
		i.flow(flows.Identities, prioAddress, flows.RuleIdentity, flows.Match{}.Is(flows.RegLabels, set),
			flows.Set(flows.RegIdentity, flows.Uint(uint64(c.identityNumbers[c.mentions.identity(p.pod).name]))),
			flows.Set(flows.RegNamespace, flows.Uint(flows.NamespaceIsPod|uint64(c.namespaces[p.pod.Namespace]))))
		out = append(out, Owned{i.owner, i.sorted()})
	}
	return out
}
