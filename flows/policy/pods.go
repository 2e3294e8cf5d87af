package policy

import (
	"cmp"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// local is a pod that is plugged in here. It does not change: of two compilations those that are the same are one.
type local struct {
	pod    state.Pod
	ofport uint32
	// policies are those of its namespace.
	policies []*state.NetworkPolicy
	// calls are the blocks of those that select it, in the order of the policies' names.
	calls map[state.Direction][]block
}

func newLocal(pod state.Pod, ofport uint32, policies []*state.NetworkPolicy) *local {
	l := &local{pod: pod, ofport: ofport, policies: policies, calls: map[state.Direction][]block{}}
	for _, p := range policies {
		if !matches(p.Selects, pod.Labels) {
			continue
		}
		for _, w := range ways {
			if isolates(*p, w.direction) {
				l.calls[w.direction] = append(l.calls[w.direction], blockFor(p, w.direction, pod))
			}
		}
	}
	return l
}

// findLocals finds the pods of this node's attachments, in the order of their ports. A pod that is
// not known is one without labels: it is isolated where all of its namespace is.
func (c *compiler) findLocals() {
	m := c.memo
	var ports claims.Book[uint32]
	for _, a := range c.state.Attachments {
		ports.Claim(a.OFPort, claims.OfAttachment(a))
	}
	last := make(map[uint32]*local, len(m.locals))
	for _, l := range m.locals {
		last[l.ofport] = l
	}
	for _, a := range c.state.Attachments {
		pod, ok := m.book.of(a, c.state.Node)
		if !ok || a.OFPort == 0 || pod.HostNetwork || !ports.Holds(a.OFPort, claims.OfAttachment(a)) {
			continue
		}
		policies := m.policyBook.byNamespace[pod.Namespace]
		l := last[a.OFPort]
		if l == nil || !samePod(&l.pod, &pod) || !flows.SameSlice(l.policies, policies) {
			l = newLocal(pod, a.OFPort, policies)
		}
		c.locals = append(c.locals, l)
	}
	slices.SortFunc(c.locals, func(a, b *local) int { return cmp.Compare(a.ofport, b.ofport) })
}
