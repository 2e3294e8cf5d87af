package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/claims"
)

const (
	reportingController = "sluice-agent"
	eventAction         = "Settle"
	// eventLife is how long an API server keeps an Event (its --event-ttl).
	eventLife = time.Hour
)

// seen is how often an event was told.
type seen struct {
	count int32
	last  time.Time
}

// Tell implements source.Teller by an Event of events.k8s.io/v1. Its name follows from
// what it says, so that an agent that was restarted, or another node's, adds to the one
// there is. (client-go's own recorder names each anew and says nothing of a missing right.)
func (c *Cluster) Tell(ctx context.Context, e source.Event) error {
	obj := event(e, time.Now())
	events := c.client.EventsV1().Events(obj.Namespace)
	count := c.counted(obj.Name)
	_, err := events.Create(ctx, obj, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = events.Patch(ctx, obj.Name, types.MergePatchType, seriesPatch(max(count, 2), obj.EventTime), metav1.PatchOptions{})
	}
	switch {
	case err == nil:
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // so is the object
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the agent may not create and patch events: give its service account that right (RBAC): %w", err)
	default:
		return fmt.Errorf("tell %s %s of %s: %w", e.About.Kind, e.About, e.Reason, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told[obj.Name] = seen{count, obj.EventTime.Time}
	return nil
}

// counted is how often the event will have been told, as far as this agent knows.
func (c *Cluster) counted(name string) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, s := range c.told {
		if time.Since(s.last) > eventLife {
			delete(c.told, n)
		}
	}
	return c.told[name].count + 1
}

// event is the API's object. Those about Nodes are in the namespace "default", as all are
// that are about what has none.
func event(e source.Event, now time.Time) *eventsv1.Event {
	namespace := e.About.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{e.About.Kind, e.About.String(), e.About.UID, e.Other.UID, e.Reason, e.Note}, "\x00")))
	out := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: "sluice-" + hex.EncodeToString(sum[:8])},
		EventTime:           metav1.NewMicroTime(now),
		ReportingController: reportingController,
		ReportingInstance:   e.Node[:min(len(e.Node), 128)], // the API's limit
		Action:              eventAction,
		Reason:              e.Reason,
		Regarding:           reference(e.About),
		Note:                strings.ToValidUTF8(e.Note[:min(len(e.Note), 1024)], ""), // cut between characters
		Type:                corev1.EventTypeWarning,
	}
	if e.Other.Kind == claims.KindNode || e.Other.Kind == claims.KindPod || e.Other.Kind == claims.KindService {
		other := reference(e.Other)
		out.Related = &other
	}
	return out
}

func reference(o claims.Object) corev1.ObjectReference {
	version := "v1"
	if o.Kind == claims.KindPolicy {
		version = "networking.k8s.io/v1"
	}
	return corev1.ObjectReference{APIVersion: version, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, UID: types.UID(o.UID)}
}

// seriesPatch says that an event has been seen again.
func seriesPatch(count int32, at metav1.MicroTime) []byte {
	data, _ := json.Marshal(map[string]any{"series": eventsv1.EventSeries{Count: count, LastObservedTime: at}}) // plain data
	return data
}
