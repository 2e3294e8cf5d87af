package policy

import (
	"cmp"
	"net/netip"
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

// peer is a pod that rules may name, with the addresses that it has.
type peer struct {
	name      podName
	addresses []netip.Addr
	memo      *podMemo
}

// locals are the pods of this node's attachments, in the order of their ports. A pod that is
// not known is one without labels: it is isolated where all of its namespace is.
func locals(s state.State, index map[podName][]int, byNamespace map[string][]*state.NetworkPolicy) []local {
	var ports claims.Book[uint32]
	for _, a := range s.Attachments {
		ports.Claim(a.OFPort, claims.OfAttachment(a))
	}
	var out []local
	for _, a := range s.Attachments {
		pod, ok := podOf(s, index, a)
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

// podName names a pod, or several after another.
type podName struct{ namespace, name string }

// byName finds the pods of attachments by their names.
func byName(s state.State) map[podName][]int {
	out := make(map[podName][]int, len(s.Attachments))
	for _, a := range s.Attachments {
		out[podName{a.PodNamespace, a.PodName}] = nil
	}
	if len(out) == 0 {
		return out
	}
	for i := range s.Pods {
		key := podName{s.Pods[i].Namespace, s.Pods[i].Name}
		if list, ok := out[key]; ok {
			out[key] = append(list, i)
		}
	}
	return out
}

// podOf is the pod that an attachment is of; ok is false if it is a container that is none.
func podOf(s state.State, index map[podName][]int, a state.Attachment) (pod state.Pod, ok bool) {
	if a.PodName == "" {
		return state.Pod{}, false
	}
	for _, i := range index[podName{a.PodNamespace, a.PodName}] {
		if a.Of(s.Pods[i]) {
			return s.Pods[i], true
		}
	}
	return a.Stranger(s.Node), true
}

// peers are all pods with the addresses that are theirs: what is plugged in here has what it was
// plugged in with, and of the others the one that the claims' rule gives it to.
func peers(s state.State, index map[podName][]int, m *memo) []peer {
	var attached claims.Book[netip.Addr]
	for _, a := range s.Attachments {
		for _, addr := range a.Addresses {
			attached.Claim(addr, claims.OfAttachment(a))
		}
	}
	out := make([]peer, 0, len(s.Pods)+len(s.Attachments))
	for _, a := range s.Attachments {
		if pod, ok := podOf(s, index, a); ok && !pod.Finished {
			held := slices.DeleteFunc(slices.Clone(a.Addresses), func(addr netip.Addr) bool { return !attached.Holds(addr, claims.OfAttachment(a)) })
			out = append(out, peer{podName{pod.Namespace, pod.Name}, held, m.labelSetOf(&pod)})
		}
	}
	candidate := func(p *state.Pod) bool { return !p.HostNetwork && !p.Finished && len(p.Addresses) > 0 }
	claimed := contested(s.Pods, candidate)
	for i := range s.Pods {
		p := &s.Pods[i]
		if !candidate(p) {
			continue
		}
		lost := func(addr netip.Addr) bool {
			return attached.Holder(addr) != (claims.Object{}) || claimed.Holder(addr) != (claims.Object{}) && !claimed.Holds(addr, claims.OfPod(*p))
		}
		held := p.Addresses
		if slices.ContainsFunc(held, lost) {
			held = slices.DeleteFunc(slices.Clone(held), lost)
		}
		if len(held) > 0 {
			out = append(out, peer{podName{p.Namespace, p.Name}, held, m.labelSetOf(p)})
		}
	}
	return out
}

// contested are the claims on addresses that several pods have.
func contested(pods []state.Pod, candidate func(*state.Pod) bool) (claimed claims.Book[netip.Addr]) {
	several := make(map[netip.Addr]bool, len(pods))
	found := false
	for i := range pods {
		if !candidate(&pods[i]) {
			continue
		}
		for _, a := range pods[i].Addresses {
			_, again := several[a]
			several[a] = again
			found = found || again
		}
	}
	if !found {
		return claimed
	}
	for i := range pods {
		if !candidate(&pods[i]) {
			continue
		}
		for _, a := range pods[i].Addresses {
			if several[a] {
				claimed.Claim(a, claims.OfPod(pods[i]))
			}
		}
	}
	return claimed
}
