package kube_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/kube"
	"github.com/sluice-cni/sluice/flows/state"
)

// watch runs a source over a fake API server, which gives it all rights, until the test ends.
func watch(t *testing.T, client *fake.Clientset) *kube.Cluster {
	t.Helper()
	return watchWith(t, client, func(kube.Right) bool { return true })
}

func watchWith(t *testing.T, client *fake.Clientset, allowed func(kube.Right) bool) *kube.Cluster {
	t.Helper()
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		asked := review.Spec.ResourceAttributes
		review.Status.Allowed = allowed(kube.Right{Group: asked.Group, Resource: asked.Resource, Verb: asked.Verb})
		return true, review, nil
	})
	c := kube.New(client, "https://api", slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// until waits for a snapshot that is as it should be.
func until(t *testing.T, c *kube.Cluster, what string, ok func(source.Snapshot) bool) source.Snapshot {
	t.Helper()
	end := time.After(20 * time.Second)
	for {
		s := c.Snapshot()
		if ok(s) {
			return s
		}
		select {
		case <-c.Changed():
		case <-end:
			t.Fatalf("%s: not in time: %+v", what, s)
		}
	}
}

func node(name, cidr string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: []string{cidr}}}
}

func TestObjectsComeAndGo(t *testing.T) {
	client := fake.NewClientset(node("n1", "10.244.1.0/24"), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	c := watch(t, client)
	s := until(t, c, "synced", func(s source.Snapshot) bool { return s.Synced && len(s.Objects.Nodes) == 1 })
	if s.Seen != s.Version || len(s.Errors) != 0 || s.Objects.Nodes[0].PodCIDRs[0].String() != "10.244.1.0/24" {
		t.Errorf("%+v", s)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n1"},
		Status:     corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.1.2"}}},
	}
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s = until(t, c, "pod seen", func(s source.Snapshot) bool { return len(s.Objects.Pods) == 1 })
	if p := s.Objects.Pods[0]; p.Node != "n1" || p.Labels["app"] != "web" || p.Addresses[0].String() != "10.244.1.2" {
		t.Errorf("%+v", p)
	}
	if err := client.CoreV1().Pods("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, c, "pod gone", func(s source.Snapshot) bool { return len(s.Objects.Pods) == 0 })
}

func TestAFieldThatCannotBeReadIsNamedAndTheRestKept(t *testing.T) {
	c := watch(t, fake.NewClientset(node("bad", "10.244.1.0"), node("good", "10.244.2.0/24")))
	s := until(t, c, "both", func(s source.Snapshot) bool { return len(s.Objects.Nodes) == 2 })
	if len(s.Errors) != 1 || !strings.Contains(s.Errors[0], `node "bad": spec.podCIDRs: "10.244.1.0"`) {
		t.Errorf("errors %q", s.Errors)
	}
}

func TestNetworkPoliciesComeWithWhatTheyAsk(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.PodSpec{
		Containers:     []corev1.Container{{Name: "a", Image: "x", Ports: []corev1.ContainerPort{{ContainerPort: 80}, {Name: "http", ContainerPort: 8080}}}},
		InitContainers: []corev1.Container{{Name: "b", RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 90}}}},
	}}
	policy := func(name string, types ...networkingv1.PolicyType) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: networkingv1.NetworkPolicySpec{PolicyTypes: types}}
	}
	client := fake.NewClientset(pod, policy("b", "Ingress"), policy("a", "Sideways"))
	c := watch(t, client)
	s := until(t, c, "all there", func(s source.Snapshot) bool {
		return s.Synced && len(s.Objects.NetworkPolicies) == 2 && len(s.Objects.Pods) == 1
	})
	if p := s.Objects.NetworkPolicies; p[0].Name != "a" || p[0].Fault == "" || p[1].Name != "b" || p[1].Fault != "" {
		t.Errorf("%+v", p)
	}
	want := []state.NamedPort{{Name: "http", Protocol: state.TCP, Port: 8080}, {Name: "side", Protocol: state.TCP, Port: 90}}
	if got := s.Objects.Pods[0].Ports; !slices.Equal(got, want) {
		t.Errorf("ports %v", got)
	}
	if err := client.NetworkingV1().NetworkPolicies("shop").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, c, "one has gone", func(s source.Snapshot) bool { return len(s.Objects.NetworkPolicies) == 1 })
}
