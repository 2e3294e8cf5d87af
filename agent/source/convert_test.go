package source_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/state"
)

func TestWhichNodesAreReady(t *testing.T) {
	addresses := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.9.0.1"}}
	ready := func(s corev1.ConditionStatus) []corev1.NodeCondition {
		return []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse}, {Type: corev1.NodeReady, Status: s}}
	}
	for _, c := range []struct {
		name   string
		status corev1.NodeStatus
		want   bool
	}{
		{"its kubelet says so", corev1.NodeStatus{Addresses: addresses, Conditions: ready(corev1.ConditionTrue)}, true},
		{"its kubelet denies it", corev1.NodeStatus{Addresses: addresses, Conditions: ready(corev1.ConditionFalse)}, false},
		{"its kubelet is silent", corev1.NodeStatus{Addresses: addresses, Conditions: ready(corev1.ConditionUnknown)}, false},
		{"written by hand, with an address", corev1.NodeStatus{Addresses: addresses}, true},
		{"no kubelet has reported yet", corev1.NodeStatus{}, false},
		{"a condition weighs more than a lacking address", corev1.NodeStatus{Conditions: ready(corev1.ConditionTrue)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := source.Node(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: c.status})
			if err != nil {
				t.Fatal(err)
			}
			if n.Ready != c.want {
				t.Errorf("ready: %v", n.Ready)
			}
			for _, o := range source.Manifests(source.Objects{Nodes: []state.Node{n}}) {
				back, err := source.Node(o.(*corev1.Node))
				if err != nil || back.Ready != c.want {
					t.Errorf("written and read again it is ready: %v, %v", back.Ready, err)
				}
			}
		})
	}
}
