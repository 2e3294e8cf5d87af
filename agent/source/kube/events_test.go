package kube_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/kube"
	"github.com/sluice-cni/sluice/flows/claims"
)

func teller(client *fake.Clientset) *kube.Cluster {
	return kube.New(client, "https://api", slog.New(slog.DiscardHandler))
}

func eventsIn(t *testing.T, client *fake.Clientset, namespace string) []eventsv1.Event {
	t.Helper()
	list, err := client.EventsV1().Events(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

var (
	ofPod = source.Event{
		About: claims.Object{Kind: claims.KindPod, Namespace: "shop", Name: "a", UID: "u1"},
		Other: claims.Object{Kind: claims.KindPod, Namespace: "shop", Name: "b", UID: "u2"},
		Node:  "n1", Reason: "AddressTaken", Note: "address 10.244.1.2 is Pod shop/b's",
	}
	ofNode = source.Event{
		About: claims.Object{Kind: claims.KindNode, Name: "n2", UID: "u3"},
		Other: claims.Object{Kind: claims.KindNode, Name: "n3", UID: "u4"},
		Node:  "n2", Reason: "PodCIDRTaken", Note: "podCIDR 10.244.2.0/24 is Node n3's",
	}
)

func TestAnEventIsOnTheObjectThatItIsAbout(t *testing.T) {
	for _, c := range []struct {
		name, namespace string
		event           source.Event
	}{
		{"a pod's in its namespace", "shop", ofPod},
		{"a node's in default", metav1.NamespaceDefault, ofNode},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := fake.NewClientset()
			if err := teller(client).Tell(t.Context(), c.event); err != nil {
				t.Fatal(err)
			}
			list := eventsIn(t, client, c.namespace)
			if len(list) != 1 {
				t.Fatalf("%d events", len(list))
			}
			e := list[0]
			about := corev1.ObjectReference{
				APIVersion: "v1", Kind: c.event.About.Kind, Namespace: c.event.About.Namespace,
				Name: c.event.About.Name, UID: e.Regarding.UID,
			}
			if e.Regarding != about || string(e.Regarding.UID) != c.event.About.UID || e.Related.Name != c.event.Other.Name {
				t.Errorf("regarding %+v, related %+v", e.Regarding, e.Related)
			}
			if e.Note != c.event.Note || e.Reason != c.event.Reason || e.Type != corev1.EventTypeWarning || e.ReportingInstance != c.event.Node {
				t.Errorf("%+v", e)
			}
			// What the API server demands beside (events.k8s.io/v1).
			if e.EventTime.IsZero() || e.Action == "" || e.ReportingController == "" {
				t.Errorf("incomplete: %+v", e)
			}
		})
	}
}

func TestAnEventAboutAPolicy(t *testing.T) {
	client := fake.NewClientset()
	fault := source.Event{
		About: claims.Object{Kind: claims.KindPolicy, Namespace: "shop", Name: "p", UID: "u5"},
		Node:  "n1", Reason: "BadPolicy", Note: strings.Repeat("x", 1023) + "é and more than an event holds",
	}
	if err := teller(client).Tell(t.Context(), fault); err != nil {
		t.Fatal(err)
	}
	list := eventsIn(t, client, "shop")
	if len(list) != 1 {
		t.Fatalf("%d events", len(list))
	}
	about := corev1.ObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: "shop", Name: "p", UID: "u5"}
	if e := list[0]; e.Regarding != about || e.Related != nil || e.Note != strings.Repeat("x", 1023) {
		t.Errorf("regarding %+v, related %+v, note of %d bytes", e.Regarding, e.Related, len(e.Note))
	}
}

func TestAnEventThatIsToldAgainIsOne(t *testing.T) {
	client := fake.NewClientset()
	first := teller(client)
	for range 3 {
		if err := first.Tell(t.Context(), ofPod); err != nil {
			t.Fatal(err)
		}
	}
	list := eventsIn(t, client, "shop")
	if len(list) != 1 || list[0].Series == nil || list[0].Series.Count != 3 || list[0].Series.LastObservedTime.IsZero() {
		t.Fatalf("%+v", list)
	}
	// A restarted agent, or another node's.
	other := ofPod
	other.Node = "n2"
	if err := teller(client).Tell(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	// The object's successor of the same name is another.
	other.About.UID = "u9"
	if err := teller(client).Tell(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if list := eventsIn(t, client, "shop"); len(list) != 2 {
		t.Errorf("%d events, not one of each object", len(list))
	}
}

func TestAnEventThatCannotBeTold(t *testing.T) {
	events := schema.GroupResource{Group: "events.k8s.io", Resource: "events"}
	terminating := apierrors.NewForbidden(events, "", errors.New("namespace is going"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for _, c := range []struct {
		name string
		err  error
		want string // empty: no error
	}{
		{"no right to", apierrors.NewForbidden(events, "", errors.New("no")), "may not create and patch events"},
		{"the API is away", errors.New("connection refused"), "tell Pod shop/a of AddressTaken: connection refused"},
		{"the namespace is being deleted", terminating, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := fake.NewClientset()
			client.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, c.err })
			err := teller(client).Tell(t.Context(), ofPod)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
