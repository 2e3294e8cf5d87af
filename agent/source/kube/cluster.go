// Package kube watches a Kubernetes API server: the source of state in a cluster.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/state"
)

// Cluster is an API server's objects as a source.Source.
type Cluster struct {
	client  kubernetes.Interface
	host    string
	log     *slog.Logger
	changed chan struct{}

	informers map[string]cache.SharedIndexInformer
	// refused gets a value when the API server has refused something.
	refused chan struct{}

	mu     sync.Mutex
	errors map[string]string // by resource
	// missing are the rights that the API server does not give, by resource.
	missing map[string][]Right
	ahead   map[string]ahead // by namespace and name
	told    map[string]seen  // events, by their object's name
	// synced are the resources that were read whole; stale the keys of objects, by resource, that
	// have changed since they were converted; events counts all changes.
	synced map[string]bool
	stale  map[string]map[string]bool
	events uint64
	// snap is the last Snapshot, good as long as nothing has changed since.
	snap  source.Snapshot
	fresh bool

	// reading keeps lists to one caller; it is taken before mu.
	reading sync.Mutex
	lists   lists
}

// Config is how to reach the API server: a kubeconfig file, or with an empty path
// the in-cluster service account.
func Config(kubeconfig string) (*rest.Config, error) {
	var c *rest.Config
	var err error
	if kubeconfig == "" {
		c, err = rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("no source of state: not in a cluster; give --kubeconfig FILE or --manifests DIR")
		}
	} else {
		c, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, err
	}
	// The client's own brake (5 requests a second) would hold up the ADDs of pods that
	// start together; the API server shares itself out fairly.
	c.QPS = -1
	return c, nil
}

// New watches with the given client once Run runs; host is for people.
func New(client kubernetes.Interface, host string, log *slog.Logger) *Cluster {
	c := &Cluster{
		client: client, host: host, log: log, changed: make(chan struct{}, 1), refused: make(chan struct{}, 1),
		errors: map[string]string{}, ahead: map[string]ahead{}, told: map[string]seen{},
		synced: map[string]bool{}, stale: map[string]map[string]bool{},
	}
	c.informers = c.newInformers()
	return c
}

// slim drops what state never looks at, to keep the cache small.
func slim(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Pod:
		o.ManagedFields, o.Annotations = nil, source.Annotations(o.Annotations)
		o.Spec = corev1.PodSpec{NodeName: o.Spec.NodeName, HostNetwork: o.Spec.HostNetwork, Containers: source.Containers(o.Spec)}
		o.Status = corev1.PodStatus{Phase: o.Status.Phase, PodIP: o.Status.PodIP, PodIPs: o.Status.PodIPs}
	case *corev1.Node:
		o.ManagedFields, o.Annotations = nil, nil
		o.Status.Images, o.Status.VolumesAttached, o.Status.VolumesInUse = nil, nil, nil
	case *corev1.Namespace:
		o.ManagedFields, o.Annotations = nil, nil
	case *networkingv1.NetworkPolicy:
		o.ManagedFields, o.Annotations = nil, source.PolicyAnnotations(o.Annotations)
	case *corev1.Service:
		source.SlimService(o)
	case *discoveryv1.EndpointSlice:
		source.SlimEndpointSlice(o)
	case metav1.Object:
		o.SetManagedFields(nil)
	}
	return obj, nil
}

// String implements source.Source.
func (c *Cluster) String() string { return "kubernetes " + c.host }

// Changed implements source.Source.
func (c *Cluster) Changed() <-chan struct{} { return c.changed }

// Run implements source.Source.
func (c *Cluster) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for name, inf := range c.informers {
		if err := inf.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { c.failed(name, err) }); err != nil {
			return fmt.Errorf("watch %s: %w", name, err)
		}
		event := func(obj any) { c.event(name, obj) }
		reg, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: event, UpdateFunc: func(_, obj any) { event(obj) }, DeleteFunc: event,
		})
		if err != nil {
			return fmt.Errorf("watch %s: %w", name, err)
		}
		wg.Go(func() { inf.RunWithContext(ctx) })
		wg.Go(func() {
			// The handler's, not the informer's: by then all objects have had their event.
			if cache.WaitForCacheSync(ctx.Done(), reg.HasSynced) {
				c.mu.Lock()
				c.synced[name] = true
				c.mu.Unlock()
				c.succeeded(name)
			}
		})
	}
	wg.Go(func() { c.rightsLoop(ctx) })
	wg.Wait()
	return nil
}

// event notes that an object of the resource has come, changed or gone.
func (c *Cluster) event(resource string, obj any) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
	if err != nil {
		return // no object of the API is without a name
	}
	if resource == "pods" {
		c.mu.Lock()
		delete(c.ahead, key) // what is known ahead of it is so no more
		c.mu.Unlock()
	}
	c.mark(resource, key)
	c.succeeded(resource)
}

// mark has an object converted for the next snapshot.
func (c *Cluster) mark(resource, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stale[resource] == nil {
		c.stale[resource] = map[string]bool{}
	}
	c.stale[resource][key] = true
	c.events++
	c.fresh = false
}

// failed records why a resource cannot be watched.
func (c *Cluster) failed(resource string, err error) {
	text := fmt.Sprintf("watch %s: %v", resource, err)
	if apierrors.IsForbidden(err) {
		poke(c.refused)
	}
	c.mu.Lock()
	// Without one of its rights a watch fails and succeeds in turns: it is told once.
	known := c.errors[resource] == text || len(c.missing[resource]) > 0
	c.errors[resource] = text
	c.mu.Unlock()
	if !known {
		c.log.Error("the last known state stays in force", "error", text)
		c.notify()
	}
}

func (c *Cluster) succeeded(resource string) {
	c.mu.Lock()
	delete(c.errors, resource)
	c.mu.Unlock()
	c.notify()
}

func (c *Cluster) notify() {
	c.mu.Lock()
	c.fresh = false
	c.mu.Unlock()
	poke(c.changed)
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Snapshot implements source.Source. Version is the resource versions of what is
// cached; the objects are in the order of their keys. The caller must not change
// what the snapshot refers to: another one may be the same.
func (c *Cluster) Snapshot() source.Snapshot {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.mu.Lock()
	if c.fresh && len(c.ahead) == 0 { // what is known ahead is forgotten by the clock
		defer c.mu.Unlock()
		return c.snap
	}
	c.fresh = true // what changes from here on makes it stale
	stale := c.stale
	c.stale = map[string]map[string]bool{}
	s := source.Snapshot{Synced: len(c.synced) == len(c.informers), Version: c.version()}
	c.mu.Unlock()
	for resource, keys := range stale {
		c.lists.take(resource, c.informers[resource].GetStore(), keys)
	}
	s.Objects, s.Errors = c.lists.objects()
	c.withAhead(&s)
	s.Seen = s.Version
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Errors = append(s.Errors, c.watchErrors()...)
	c.snap = s
	return s
}

// version is the resource versions of what is cached and the number of events so far: what
// the watch has brought may be on its way to the cache yet.
func (c *Cluster) version() string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.informers)) {
		out.WriteString(name + "=" + c.informers[name].LastSyncResourceVersion() + ",")
	}
	fmt.Fprintf(&out, "events=%d", c.events)
	return out.String()
}

// withAhead puts the Pods into a snapshot that the watch has not shown yet.
func (c *Cluster) withAhead(s *source.Snapshot) {
	ahead := c.stillAhead()
	if len(ahead) == 0 {
		return
	}
	var pods list[state.Pod]
	pods.keys, pods.items, pods.errs = c.lists.pods.keys, c.lists.pods.items, nil
	keys := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(ahead)) {
		keys[key] = true
		s.Version += ",ahead:" + key + "=" + ahead[key].ResourceVersion
	}
	take(&pods, ahead, keys, pod)
	s.Objects.Pods = pods.items
	for _, key := range slices.Sorted(maps.Keys(pods.errs)) {
		s.Errors = append(s.Errors, pods.errs[key])
	}
}

// watchErrors are why something cannot be watched.
func (c *Cluster) watchErrors() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.missing)) {
		out = append(out, lacking(c.missing[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(c.errors)) {
		if len(c.missing[name]) == 0 { // or that is why
			out = append(out, c.errors[name])
		}
	}
	return out
}
