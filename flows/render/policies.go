package render

import (
	"fmt"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/state"
)

// policyPart is what one owner has of the policies: compiled already, since what a policy
// needs depends on all pods.
type policyPart struct {
	of    flows.Owner
	flows []flows.Flow
}

func (p policyPart) owner() flows.Owner { return p.of }

func (p policyPart) same(other part) bool {
	o, ok := other.(policyPart)
	if !ok || len(p.flows) != len(o.flows) {
		return false
	}
	if len(p.flows) > 0 && &p.flows[0] == &o.flows[0] { // compiled once
		return true
	}
	return slices.EqualFunc(p.flows, o.flows, flows.Flow.Equal)
}

func (p policyPart) emit(e *emitter) { e.flows = append(e.flows, p.flows...) }

// policies compiles the policies. Without any, pods are no matter.
func (d *division) policies(compiler *policy.Compiler) {
	s := d.state
	if len(s.NetworkPolicies) == 0 {
		s = state.State{Node: s.Node, Nodes: s.Nodes}
	}
	r := compiler.Compile(s)
	for _, o := range r.Owned {
		d.parts = append(d.parts, policyPart{o.Owner, o.Flows})
	}
	d.compiled = append(d.compiled, r.Policies, r.Identities)
	for _, c := range r.Crowds {
		d.conflicts = append(d.conflicts, claims.Conflict{
			On: claims.OnPolicies, Key: fmt.Sprintf("%d for %s", c.Policies, c.Direction),
			Loser: claims.Object{Kind: claims.KindPod, Namespace: c.Namespace, Name: c.Name, UID: c.UID},
		})
	}
	for _, p := range r.Faulty {
		d.conflicts = append(d.conflicts, claims.Conflict{
			On: claims.OnFault, Key: p.Fault,
			Loser: claims.Object{Kind: claims.KindPolicy, Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		})
	}
}
