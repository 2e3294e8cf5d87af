package source_test

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-cni/sluice/agent/source"
)

// TestBothFamiliesInEitherOrder: what Kubernetes says of nodes and pods keeps its order.
func TestBothFamiliesInEitherOrder(t *testing.T) {
	for _, order := range [][3][]string{
		{{"10.9.0.1", "fd09::1"}, {"10.244.1.0/24", "fd00:1::/64"}, {"10.244.1.2", "fd00:1::2"}},
		{{"fd09::1", "10.9.0.1"}, {"fd00:1::/64", "10.244.1.0/24"}, {"fd00:1::2", "10.244.1.2"}},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{PodCIDR: order[1][0], PodCIDRs: order[1]}}
		for _, a := range order[0] {
			node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
		}
		pod := &corev1.Pod{Status: corev1.PodStatus{PodIP: order[2][0]}}
		for _, a := range order[2] {
			pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: a})
		}
		n, err := source.Node(node)
		if err != nil {
			t.Fatal(err)
		}
		p, err := source.Pod(pod)
		if err != nil {
			t.Fatal(err)
		}
		if texts(n.Addresses, netip.Addr.String) != texts(order[0], same) || texts(n.PodCIDRs, netip.Prefix.String) != texts(order[1], same) ||
			texts(p.Addresses, netip.Addr.String) != texts(order[2], same) {
			t.Errorf("%v is read as %v, %v, %v", order, n.Addresses, n.PodCIDRs, p.Addresses)
		}
	}
}

func same(s string) string { return s }

func texts[T any](list []T, text func(T) string) string {
	var out string
	for item := range slices.Values(list) {
		out += text(item) + " "
	}
	return out
}
