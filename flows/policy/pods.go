package policy

import (
	"cmp"
	"slices"

	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// local is a pod that is plugged in here.
type local struct {
	pod    state.Pod
	ofport uint32
	// ingress and egress are the policies that select it, in the order of their names.
	ingress, egress []*state.NetworkPolicy
	// calls are the names of the blocks that they are for this pod.
	calls map[state.Direction][]string
}

// locals are the pods of this node's attachments, in the order of their ports. A pod that is
// not known is one without labels: it is isolated where all of its namespace is.
func locals(s state.State, book *podBook, byNamespace map[string][]*state.NetworkPolicy) []local {
	var ports claims.Book[uint32]
	for _, a := range s.Attachments {
		ports.Claim(a.OFPort, claims.OfAttachment(a))
	}
	var out []local
	for _, a := range s.Attachments {
		pod, ok := book.of(a, s.Node)
		if !ok || a.OFPort == 0 || pod.HostNetwork || !ports.Holds(a.OFPort, claims.OfAttachment(a)) {
			continue
		}
		l := local{pod: pod, ofport: a.OFPort}
		for _, p := range byNamespace[pod.Namespace] {
			if !matches(p.Selects, pod.Labels) {
				continue
			}
			if isolates(*p, state.Ingress) {
				l.ingress = append(l.ingress, p)
			}
			if isolates(*p, state.Egress) {
				l.egress = append(l.egress, p)
			}
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b local) int { return cmp.Compare(a.ofport, b.ofport) })
	return out
}
