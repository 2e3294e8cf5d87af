package apiserver_test

import (
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/kube"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/test/apiserver"
)

const pods = "/api/v1/pods"

func pod(name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: labels}}
}

// TestAnAgentsSourceFollows what is put there, what is changed, and what is taken out; and its
// events arrive.
func TestAnAgentsSourceFollows(t *testing.T) {
	server := apiserver.New()
	put := func(p *corev1.Pod) {
		t.Helper()
		if err := server.Put(pods, p); err != nil {
			t.Fatal(err)
		}
	}
	put(pod("a", nil))
	s := httptest.NewServer(server)
	t.Cleanup(s.Close) // after the watches have ended, with the test's context
	client, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	c := kube.New(client, s.URL, slog.New(slog.DiscardHandler))
	go func() { _ = c.Run(t.Context()) }()
	await := func(what string, ok func(source.Snapshot) bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !ok(c.Snapshot()); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: not within 30 s: %+v", what, c.Snapshot())
			}
		}
	}
	await("a", func(s source.Snapshot) bool { return s.Synced && len(s.Objects.Pods) == 1 && len(s.Errors) == 0 })
	put(pod("b", nil))
	await("a and b", func(s source.Snapshot) bool { return len(s.Objects.Pods) == 2 })
	put(pod("b", map[string]string{"app": "db"}))
	await("b with a label", func(s source.Snapshot) bool { return s.Objects.Pods[1].Labels["app"] == "db" })
	server.Delete(pods, "shop", "a")
	await("b alone", func(s source.Snapshot) bool { return len(s.Objects.Pods) == 1 })
	if err := c.Know(t.Context(), "shop", "none", ""); err == nil {
		t.Error("a pod is known that there is not")
	}
	for range 2 {
		if err := c.Tell(t.Context(), source.Event{About: claims.Object{Kind: claims.KindPod, Namespace: "shop", Name: "b"}, Node: "n1", Reason: "R", Note: "n"}); err != nil {
			t.Error(err)
		}
	}
	if events := server.Objects("/apis/events.k8s.io/v1/events"); len(events) != 1 {
		t.Errorf("%d events", len(events))
	}
}
