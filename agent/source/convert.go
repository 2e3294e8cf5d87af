package source

import (
	"fmt"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-cni/sluice/flows/state"
)

// Namespace keeps what state needs of a Namespace. The label with its name, which the
// API server sets and no manifest can change, is always there.
func Namespace(ns *corev1.Namespace) state.Namespace {
	labels := maps.Clone(ns.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[state.NamespaceNameLabel] = ns.Name
	return state.Namespace{Name: ns.Name, UID: string(ns.UID), Labels: labels}
}

// Node keeps what state needs of a Node. An address or podCIDR that cannot be read
// is an error that names the field.
func Node(n *corev1.Node) (state.Node, error) {
	out := state.Node{
		Name: n.Name, UID: string(n.UID), Labels: n.Labels,
		Deleting: n.DeletionTimestamp != nil, Created: created(n.ObjectMeta),
	}
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		ip, err := netip.ParseAddr(a.Address)
		if err != nil {
			return out, fmt.Errorf("node %q: status.addresses: InternalIP %q is no address", n.Name, a.Address)
		}
		out.Addresses = append(out.Addresses, ip.Unmap())
	}
	out.Ready = nodeReady(n.Status.Conditions, len(out.Addresses) > 0)
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for _, c := range cidrs {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			return out, fmt.Errorf("node %q: spec.podCIDRs: %q is no CIDR, expected one like 10.244.1.0/24", n.Name, c)
		}
		if p != p.Masked() {
			return out, fmt.Errorf("node %q: spec.podCIDRs: %q has bits set behind its prefix, expected %q", n.Name, c, p.Masked())
		}
		out.PodCIDRs = append(out.PodCIDRs, p)
	}
	return out, nil
}

// nodeReady is the Ready condition's status. Without one a Node counts as Ready if it has
// addresses, as in YAML written by hand: of one that has none no kubelet has ever reported,
// and it must not take a podCIDR from one that runs.
func nodeReady(conditions []corev1.NodeCondition, addresses bool) bool {
	for _, c := range conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return addresses
}

// The annotations of a Pod that ask for its addresses (separated by commas, at most one
// of each family) and its MAC.
const (
	AnnotationIPs = "sluice.dev/ips"
	AnnotationMAC = "sluice.dev/mac"
)

// The annotations of a Pod that limit what it receives and what it sends, as quantities of
// bits a second (Kubernetes, "Network Plugins", "Support traffic shaping").
const (
	AnnotationIngress = "kubernetes.io/ingress-bandwidth"
	AnnotationEgress  = "kubernetes.io/egress-bandwidth"
)

// Bandwidth reads a quantity of bits a second.
func Bandwidth(text string) (uint64, error) {
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() < 0 {
		return 0, fmt.Errorf("expected a quantity of bits a second, such as 10M, found %.100q", text)
	}
	return uint64(q.Value()), nil
}

// Annotations are those of a Pod that state needs; nil if it has none of them.
func Annotations(all map[string]string) map[string]string {
	return only(all, AnnotationIPs, AnnotationMAC, AnnotationIngress, AnnotationEgress)
}

// Pod keeps what state needs of a Pod.
func Pod(p *corev1.Pod) (state.Pod, error) {
	out := state.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Labels: p.Labels,
		Node: p.Spec.NodeName, HostNetwork: p.Spec.HostNetwork,
		Finished: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		Deleting: p.DeletionTimestamp != nil, Created: created(p.ObjectMeta),
		Ports: namedPorts(p.Spec), HostPorts: hostPorts(p.Spec),
		AskedIPs: p.Annotations[AnnotationIPs], AskedMAC: p.Annotations[AnnotationMAC],
		AskedIngress: p.Annotations[AnnotationIngress], AskedEgress: p.Annotations[AnnotationEgress],
	}
	ips := p.Status.PodIPs
	if len(ips) == 0 && p.Status.PodIP != "" {
		ips = []corev1.PodIP{{IP: p.Status.PodIP}}
	}
	for _, i := range ips {
		ip, err := netip.ParseAddr(i.IP)
		if err != nil {
			return out, fmt.Errorf("pod %q: status.podIPs: %q is no address", p.Namespace+"/"+p.Name, i.IP)
		}
		out.Addresses = append(out.Addresses, ip.Unmap())
	}
	return out, nil
}

func created(m metav1.ObjectMeta) int64 {
	if m.CreationTimestamp.IsZero() {
		return 0
	}
	return m.CreationTimestamp.Unix()
}

// Manifests turns objects back into Kubernetes objects that Namespace, Node, Pod,
// NetworkPolicy, Service and EndpointSlice read to the same state, for printing.
func Manifests(o Objects) []any {
	var out []any
	meta := func(namespace, name, uid string, labels map[string]string, created int64, deleting bool) metav1.ObjectMeta {
		m := metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid), Labels: labels}
		if created != 0 {
			m.CreationTimestamp = metav1.Unix(created, 0)
		}
		if deleting {
			t := metav1.Unix(max(created, 1), 0) // only that there is one is known
			m.DeletionTimestamp = &t
		}
		return m
	}
	for _, ns := range o.Namespaces {
		out = append(out, &corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: meta("", ns.Name, ns.UID, ns.Labels, 0, false),
		})
	}
	for _, n := range o.Nodes {
		node := &corev1.Node{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
			ObjectMeta: meta("", n.Name, n.UID, n.Labels, n.Created, n.Deleting),
		}
		for _, p := range n.PodCIDRs {
			node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, p.String())
		}
		for _, a := range n.Addresses {
			node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
		}
		if n.Ready != nodeReady(nil, len(n.Addresses) > 0) {
			status := corev1.ConditionFalse
			if n.Ready {
				status = corev1.ConditionTrue
			}
			node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
		}
		out = append(out, node)
	}
	for _, p := range o.Pods {
		pod := &corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: meta(p.Namespace, p.Name, p.UID, p.Labels, p.Created, p.Deleting),
		}
		pod.Spec.NodeName, pod.Spec.HostNetwork = p.Node, p.HostNetwork
		pod.Spec.Containers = containersOf(p.Ports, p.HostPorts)
		for name, value := range map[string]string{
			AnnotationIPs: p.AskedIPs, AnnotationMAC: p.AskedMAC, AnnotationIngress: p.AskedIngress, AnnotationEgress: p.AskedEgress,
		} {
			if value != "" {
				metav1.SetMetaDataAnnotation(&pod.ObjectMeta, name, value)
			}
		}
		for _, a := range p.Addresses {
			pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: a.String()})
		}
		if p.Finished {
			pod.Status.Phase = corev1.PodSucceeded
		}
		out = append(out, pod)
	}
	for _, p := range o.NetworkPolicies {
		out = append(out, policyManifest(p))
	}
	for _, s := range o.Services {
		out = append(out, serviceManifest(s, meta(s.Namespace, s.Name, s.UID, nil, s.Created, s.Deleting)))
	}
	for _, s := range o.EndpointSlices {
		out = append(out, sliceManifest(s))
	}
	return out
}
