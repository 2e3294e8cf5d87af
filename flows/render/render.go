package render

import (
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/flows/state"
)

// Result is what a node's switch must hold.
type Result struct {
	// Set has an entry for each owner, in the order of flows.CompareOwners. What it
	// points to is never changed: see Renderer.
	Set []*Owned
	// Conflicts are claims that lost, in a stable order.
	Conflicts []claims.Conflict
	// Services are what the node's clients of Services are given.
	Services service.Result
}

// Owned is what one owner needs of the switch.
type Owned = flows.Owned

// Len is the number of flows.
func (r Result) Len() int {
	n := 0
	for _, o := range r.Set {
		n += len(o.Flows)
	}
	return n
}

// Flows are all flows, in the order of flows.Compare.
func (r Result) Flows() []flows.Flow {
	out := make([]flows.Flow, 0, r.Len())
	for _, o := range r.Set {
		out = append(out, o.Flows...)
	}
	flows.Sort(out)
	return out
}

// Groups are all groups, in the order of their numbers.
func (r Result) Groups() []flows.Group {
	var out []flows.Group
	for _, o := range r.Set {
		out = append(out, o.Groups...)
	}
	slices.SortFunc(out, flows.CompareGroups)
	return out
}

// Owners leads from a cookie without its rule to the object, and from that of what the switch learns
// for a Service.
func (r Result) Owners() map[flows.Cookie]flows.Owner {
	out := make(map[flows.Cookie]flows.Owner, len(r.Set))
	for _, o := range r.Set {
		out[o.Owner.Cookie(0)] = o.Owner
		if o.Owner.Kind == flows.OwnerService {
			learned := flows.Owner{Kind: flows.OwnerLearned, Name: o.Owner.Name}
			out[learned.Cookie(0)] = learned
		}
	}
	return out
}

// Tables renders the flows of the node s.Node.
func Tables(s state.State) Result { return new(Renderer).Render(s) }

// Renderer renders one state after another, each as Tables does, and makes anew only
// what an owner whose part of the state has changed needs: of two successive results,
// what is alike is the same *Owned. The zero Renderer is ready to use, by one caller.
type Renderer struct {
	made   []made     // in the order of the owners
	served []servedAs // in the order of the Services
	// The spare ones are for the next: a cluster's are many, and each change would leave them to the collector.
	spare       []made
	spareServed []servedAs
	losses      podLosses
	policies    policy.Compiler
	services    service.Resolver
}

// made is what an owner was given last, and from what.
type made struct {
	owner flows.Owner
	parts []part
	owned *Owned
}

// part is all that some flows of one owner are made from. Nothing else reaches emit:
// so two parts that are the same give the same flows.
type part interface {
	owner() flows.Owner
	same(part) bool
	emit(*emitter)
}

// Render is Tables, by way of what was rendered before.
func (r *Renderer) Render(s state.State) Result {
	d := r.divide(s)
	slices.SortStableFunc(d.parts, func(a, b part) int { return flows.CompareOwners(a.owner(), b.owner()) })
	next, before := r.spare[:0], r.made
	result := Result{Conflicts: d.conflicts, Services: d.resolved}
	whole := len(r.made) + 1
	for _, list := range d.compiled {
		whole += len(list)
	}
	result.Set = make([]*Owned, 0, whole)
	for parts := d.parts; len(parts) > 0; {
		owner, n := parts[0].owner(), 1
		for n < len(parts) && parts[n].owner() == owner {
			n++
		}
		for len(before) > 0 && flows.CompareOwners(before[0].owner, owner) < 0 {
			before = before[1:]
		}
		m := made{owner: owner}
		if len(before) > 0 && before[0].owner == owner {
			m = before[0]
		}
		if m.owned == nil || !slices.EqualFunc(m.parts, parts[:n], part.same) {
			last := m.owned
			m.parts, m.owned = slices.Clone(parts[:n]), makeOwned(owner, parts[:n])
			if last != nil && last.Alike(m.owned) {
				m.owned = last
			}
		}
		next = append(next, m)
		result.Set = append(result.Set, m.owned)
		parts = parts[n:]
	}
	for _, list := range d.compiled {
		result.Set = append(result.Set, list...)
	}
	clear(r.made)
	r.made, r.spare = next, r.made
	return result
}

func makeOwned(owner flows.Owner, parts []part) *Owned {
	e := &emitter{cookie: owner.Cookie(0)}
	for _, p := range parts {
		p.emit(e)
	}
	return newOwned(owner, e.flows, e.groups)
}

// newOwned takes an owner's flows and groups, which need no order.
func newOwned(owner flows.Owner, of []flows.Flow, groups []flows.Group) *Owned {
	flows.Sort(of)
	slices.SortFunc(groups, flows.CompareGroups)
	return &Owned{Owner: owner, Flows: slices.Clip(of), Groups: slices.Clip(groups)}
}

// emitter takes one owner's flows and groups.
type emitter struct {
	cookie flows.Cookie
	flows  []flows.Flow
	groups []flows.Group
}

func (e *emitter) flow(t flows.TableID, priority uint16, rule flows.Rule, m flows.Match, actions ...flows.Action) {
	e.flows = append(e.flows, flows.Flow{
		Table: t, Priority: priority, Cookie: e.cookie | flows.Cookie(rule), Match: m, Actions: actions,
	})
}

// division is a state divided among the owners.
type division struct {
	state     state.State
	parts     []part
	conflicts []claims.Conflict
	resolved  service.Result
	// compiled are policies, identities and Services, in the order of the owners, behind all of those with parts: they have
	// all of their flows already.
	compiled [][]*Owned

	podCIDRs  claims.Book[netip.Prefix]
	addresses claims.Book[netip.Addr]
	ports     claims.Book[uint32]
	// nodeAddresses are the Nodes' InternalIPs.
	nodeAddresses claims.Book[netip.Addr]
}

// divide settles all claims and gives each owner its part.
func (r *Renderer) divide(s state.State) *division {
	d := &division{state: s}
	d.settle()
	d.parts = append(d.parts, pipelinePart{
		clusterCIDRs: slices.Compact(slices.SortedFunc(slices.Values(s.Config.ClusterCIDRs), comparePrefix)),
		serviceCIDRs: slices.Compact(slices.SortedFunc(slices.Values(s.Config.ServiceCIDRs), comparePrefix)),
		tunnelPort:   TunnelPort(Encapsulation(s.Config)),
	})
	if n, ok := s.Self(); ok {
		d.parts = append(d.parts, gatewayPart{n.Name, d.podCIDRsOf(n)})
	}
	for _, n := range d.peers() {
		d.parts = append(d.parts, d.node(n))
	}
	for _, a := range d.attachments() {
		d.parts = append(d.parts, d.pod(a))
	}
	d.podsHostPorts()
	d.policies(&r.policies)
	r.serve(d)
	d.podConflicts(&r.losses)
	return d
}
