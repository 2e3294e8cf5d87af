package kube_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
