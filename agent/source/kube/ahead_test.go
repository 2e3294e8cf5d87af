package kube_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/sluice-cni/sluice/agent/source"
)

func labelled(uid, app string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: "web", UID: types.UID(uid), Labels: map[string]string{"app": app},
	}}
}

// app is the label of the one pod in a snapshot.
func app(s source.Snapshot) string {
	if len(s.Objects.Pods) != 1 {
		return ""
	}
	return s.Objects.Pods[0].Labels["app"]
}

func TestAPodIsKnownBeforeTheWatchShowsIt(t *testing.T) {
	client := fake.NewClientset()
	slow := apiwatch.NewFake()
	client.PrependWatchReactor("pods", clienttesting.DefaultWatchReactor(slow, nil))
	c := watch(t, client)
	until(t, c, "synced", func(s source.Snapshot) bool { return s.Synced })
	var asked int
	client.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		asked++
		return true, labelled("u1", "asked"), nil
	})
	for range 2 {
		if err := c.Know(t.Context(), "default", "web", "u1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := app(c.Snapshot()); got != "asked" {
		t.Fatalf("the snapshot has %q, not the pod that was asked for", got)
	}
	before := asked
	slow.Add(labelled("u1", "watched"))
	until(t, c, "the watch's pod in place of it", func(s source.Snapshot) bool { return app(s) == "watched" })
	if err := c.Know(t.Context(), "default", "web", "u1"); err != nil || asked != before {
		t.Errorf("a pod that the watch has shown was asked for again (%d, %v)", asked-before, err)
	}
	slow.Delete(labelled("u1", "watched"))
	until(t, c, "gone", func(s source.Snapshot) bool { return len(s.Objects.Pods) == 0 })
}

func TestAPodThatReplacesOneOfItsNameIsAskedFor(t *testing.T) {
	client := fake.NewClientset(labelled("old", "old"))
	c := watch(t, client)
	until(t, c, "synced", func(s source.Snapshot) bool { return app(s) == "old" })
	client.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, labelled("new", "new"), nil
	})
	if err := c.Know(t.Context(), "default", "web", "new"); err != nil {
		t.Fatal(err)
	}
	if got := app(c.Snapshot()); got != "new" {
		t.Errorf("the snapshot has the pod %q, not the new one", got)
	}
}

func TestAPodThatCannotBeHadIsNamed(t *testing.T) {
	c := watch(t, fake.NewClientset())
	if err := c.Know(t.Context(), "default", "web", "u1"); err == nil {
		t.Error("there is no such pod, and no error")
	}
}
