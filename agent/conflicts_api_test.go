package agent

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sluice-cni/sluice/agent/source/kube"
	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/test/apiserver"
)

const policiesPath = "/apis/networking.k8s.io/v1/networkpolicies"

func selects(app string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

// TestPoliciesThatCannotBeServedHaveAnEvent at the API server: on a policy that cannot be understood, and on a
// pod that more policies select than a packet can be judged by.
func TestPoliciesThatCannotBeServedHaveAnEvent(t *testing.T) {
	server := apiserver.New()
	const broken, many = "broken", policy.MaxPolicies + 1
	policies := []*networkingv1.NetworkPolicy{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: broken, UID: "u-broken"},
		Spec: networkingv1.NetworkPolicySpec{PodSelector: selects("db"), Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
			{PodSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Like"}}}},
		}}}},
	}}
	for i := range many {
		policies = append(policies, &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("p%d", i)}, Spec: networkingv1.NetworkPolicySpec{PodSelector: selects("web")},
		})
	}
	for _, p := range policies {
		if err := server.Put(policiesPath, p); err != nil {
			t.Fatal(err)
		}
	}
	attached := state.State{Node: "n1", Nodes: []state.Node{{Name: "n1"}}}
	for i, app := range []string{"db", "web"} {
		address := netip.AddrFrom4([4]byte{10, 244, 1, byte(2 + i)})
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: app, UID: "u-web", Labels: map[string]string{"app": app}},
			Spec:       corev1.PodSpec{NodeName: "n1"}, Status: corev1.PodStatus{PodIP: address.String()},
		}
		if err := server.Put("/api/v1/pods", p); err != nil {
			t.Fatal(err)
		}
		attached.Attachments = append(attached.Attachments, state.Attachment{
			ContainerID: app, PodNamespace: "shop", PodName: app, OFPort: uint32(258 + i), MAC: "0a:58:0a:f4:01:02", Addresses: []netip.Addr{address},
		})
	}
	s := httptest.NewServer(server)
	t.Cleanup(s.Close) // after the watches have ended, with the test's context
	client, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	cluster := kube.New(client, s.URL, slog.New(slog.DiscardHandler))
	go func() { _ = cluster.Run(t.Context()) }()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		objects := cluster.Snapshot().Objects
		if attached.Pods, attached.NetworkPolicies = objects.Pods, objects.NetworkPolicies; len(objects.Pods) == 2 && len(objects.NetworkPolicies) == 1+many {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d pods and %d policies after a minute", len(objects.Pods), len(objects.NetworkPolicies))
		}
	}
	c := newConflicts("n1", cluster, slog.New(slog.DiscardHandler))
	c.stand(attached, render.Tables(attached).Conflicts)
	c.look(t.Context(), false)
	if problem := c.Problem(); problem != "" {
		t.Fatal(problem)
	}
	var told []string
	for _, text := range server.Objects("/apis/events.k8s.io/v1/events") {
		var e eventsv1.Event
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		told = append(told, strings.Join([]string{e.Regarding.APIVersion, e.Regarding.Kind, e.Regarding.Namespace, e.Regarding.Name, e.Type, e.Reason, e.Note}, " "))
	}
	slices.Sort(told)
	want := []string{
		"networking.k8s.io/v1 NetworkPolicy shop broken Warning BadPolicy this NetworkPolicy cannot be understood and allows nothing to the pods that it selects: " +
			"spec.ingress[0].from[0].podSelector:",
		fmt.Sprintf("v1 Pod shop web Warning TooManyPolicies more policies select this Pod (%d for Ingress) than a packet can be judged by", many),
	}
	if len(told) != len(want) || !strings.HasPrefix(told[0], want[0]) || !strings.HasPrefix(told[1], want[1]) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}
