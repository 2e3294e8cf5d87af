package kube_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	watchapi "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/kube"
)

// withhold makes the API server refuse what a right is for, as long as withheld says so.
func withhold(client *fake.Clientset, right kube.Right, withheld func() bool) {
	client.PrependReactor(right.Verb, right.Resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		if !withheld() {
			return false, nil, nil
		}
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: right.Resource}, "", nil)
	})
}

func TestAMissingRightIsNamedAndNoOther(t *testing.T) {
	for _, right := range kube.Rights {
		t.Run(right.String(), func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset()
			var withheld atomic.Bool
			withheld.Store(true)
			withhold(client, right, withheld.Load)
			c := watchWith(t, client, func(r kube.Right) bool { return r != right || !withheld.Load() })
			want := "the agent may not " + right.String() + ": "
			until(t, c, "named", func(s source.Snapshot) bool { return len(s.Errors) == 1 && strings.HasPrefix(s.Errors[0], want) })
			withheld.Store(false)
			until(t, c, "no longer", func(s source.Snapshot) bool { return s.Synced && len(s.Errors) == 0 })
		})
	}
}

func TestWhereRightsCannotBeAskedForTheRefusalItselfIsTold(t *testing.T) {
	client := fake.NewClientset()
	withhold(client, kube.Right{Resource: "nodes", Verb: "list"}, func() bool { return true })
	c := watch(t, client)
	client.PrependReactor("create", "selfsubjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no")
	})
	s := until(t, c, "told", func(s source.Snapshot) bool { return len(s.Errors) > 0 })
	if s.Synced || !strings.Contains(s.Errors[0], "watch nodes") || !strings.Contains(s.Errors[0], "forbidden") {
		t.Errorf("synced %v, errors %q", s.Synced, s.Errors)
	}
}

// TestAWatchThatWorksAgainIsSeenWithoutAnObject: nothing but the watch itself tells of it.
func TestAWatchThatWorksAgainIsSeenWithoutAnObject(t *testing.T) {
	client := fake.NewClientset()
	var works atomic.Bool
	failed := make(chan struct{}, 100)
	client.PrependWatchReactor("networkpolicies", func(clienttesting.Action) (bool, watchapi.Interface, error) {
		if works.Load() {
			return false, nil, nil
		}
		failed <- struct{}{}
		return true, nil, apierrors.NewInternalError(errors.New("etcd is away"))
	})
	c := watch(t, client)
	s := until(t, c, "told", func(s source.Snapshot) bool { return s.Synced && len(s.Errors) > 0 })
	if len(s.Errors) != 1 || !strings.Contains(s.Errors[0], "watch networkpolicies") {
		t.Errorf("errors %q", s.Errors)
	}
	for range 3 { // by then nobody tells of the first list any more
		<-failed
	}
	until(t, c, "still told", func(s source.Snapshot) bool { return len(s.Errors) == 1 })
	works.Store(true)
	until(t, c, "no longer", func(s source.Snapshot) bool { return len(s.Errors) == 0 })
}
