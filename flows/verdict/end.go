package verdict

import (
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows/state"
)

// end is one end of a connection.
type end struct {
	address netip.Addr
	// pod has the address; nil if none has.
	pod *state.Pod
	// node is where the pod is.
	node string
}

// find says whose an address is. What is plugged in on this node has the addresses that it was
// plugged in with, until it is unplugged. Else it is the pod's that says so.
func find(s state.State, address netip.Addr) end {
	if a := holder(s, address); a != nil {
		return end{address, podOf(s, *a), s.Node}
	}
	if p := claimant(s, address); p != nil {
		return end{address, p, p.Node}
	}
	return end{address: address}
}

// holder of an address among what is plugged in here: the newest, then the first by name.
func holder(s state.State, address netip.Addr) *state.Attachment {
	key := func(a state.Attachment) string { return a.Network + "/" + a.ContainerID + "/" + a.IfName }
	var out *state.Attachment
	for i := range s.Attachments {
		a := &s.Attachments[i]
		if !slices.Contains(a.Addresses, address) {
			continue
		}
		if out == nil || a.Created > out.Created || a.Created == out.Created && key(*a) < key(*out) {
			out = a
		}
	}
	return out
}

// podOf an attachment: nil for a container that is no pod. A pod that is not known is one of its
// namespace without labels: so it is isolated where all of the namespace is.
func podOf(s state.State, a state.Attachment) *state.Pod {
	if a.PodName == "" {
		return nil
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		if p.Namespace == a.PodNamespace && p.Name == a.PodName && (a.PodUID == "" || p.UID == "" || a.PodUID == p.UID) {
			return p
		}
	}
	return &state.Pod{Namespace: a.PodNamespace, Name: a.PodName, UID: a.PodUID, Node: s.Node}
}

// claimant is the pod that says it has the address. A pod on the host's network has none of its
// own, and one that has finished none any more. Of several, one that lives comes before one that is
// being deleted, then the newer, then the first by name.
func claimant(s state.State, address netip.Addr) *state.Pod {
	var out *state.Pod
	for i := range s.Pods {
		p := &s.Pods[i]
		if p.HostNetwork || p.Finished || !slices.Contains(p.Addresses, address) {
			continue
		}
		if out == nil || before(*p, *out) {
			out = p
		}
	}
	return out
}

func before(a, b state.Pod) bool {
	switch {
	case a.Deleting != b.Deleting:
		return b.Deleting
	case a.Created != b.Created:
		return a.Created > b.Created
	}
	return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
}

// living tells whether the end is a pod that rules may name: of one that has finished the
// address may be another's by now.
func (e end) living() bool { return e.pod != nil && !e.pod.Finished }

func (e end) name() string {
	if e.pod == nil {
		return ""
	}
	return e.pod.Namespace + "/" + e.pod.Name
}

func (e end) String() string {
	if e.pod == nil {
		return e.address.String()
	}
	return e.name()
}

// addressesOf a node: the node's own, and its gateway in each podCIDR, which is the first
// address after the network's.
func addressesOf(s state.State, node string) []netip.Addr {
	var out []netip.Addr
	for _, n := range s.Nodes {
		if n.Name != node || node == "" {
			continue
		}
		out = append(out, n.Addresses...)
		for _, c := range n.PodCIDRs {
			out = append(out, c.Masked().Addr().Next())
		}
	}
	return out
}

// namespaceLabels of a namespace: without an object, its name is all that is known.
func namespaceLabels(s state.State, name string) map[string]string {
	for _, ns := range s.Namespaces {
		if ns.Name == name {
			return ns.Labels
		}
	}
	return map[string]string{state.NamespaceNameLabel: name}
}
