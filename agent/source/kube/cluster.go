// Package kube watches a Kubernetes API server: the source of state in a cluster.
package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
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
	// snap is the last Snapshot, good as long as nothing has changed since.
	snap  source.Snapshot
	fresh bool
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
	}
	c.informers = c.newInformers()
	return c
}

// slim drops what state never looks at, to keep the cache small.
func slim(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Pod:
		o.ManagedFields, o.Annotations = nil, source.Annotations(o.Annotations)
		o.Spec = corev1.PodSpec{NodeName: o.Spec.NodeName, HostNetwork: o.Spec.HostNetwork, Containers: source.Containers(source.NamedPorts(o.Spec))}
		o.Status = corev1.PodStatus{Phase: o.Status.Phase, PodIP: o.Status.PodIP, PodIPs: o.Status.PodIPs}
	case *corev1.Node:
		o.ManagedFields, o.Annotations = nil, nil
		o.Status.Images, o.Status.VolumesAttached, o.Status.VolumesInUse = nil, nil, nil
	case *corev1.Namespace:
		o.ManagedFields, o.Annotations = nil, nil
	case *networkingv1.NetworkPolicy:
		o.ManagedFields, o.Annotations = nil, source.PolicyAnnotations(o.Annotations)
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
		notify := func() { c.succeeded(name) }
		event := func(obj any) {
			if name == "pods" {
				c.shown(obj)
			}
			notify()
		}
		if _, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: event, UpdateFunc: func(_, obj any) { event(obj) }, DeleteFunc: event,
		}); err != nil {
			return fmt.Errorf("watch %s: %w", name, err)
		}
		wg.Go(func() { inf.RunWithContext(ctx) })
		wg.Go(func() {
			if cache.WaitForCacheSync(ctx.Done(), inf.HasSynced) {
				notify()
			}
		})
	}
	wg.Go(func() { c.rightsLoop(ctx) })
	wg.Wait()
	return nil
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
// cached; the objects are in the order of their names. The caller must not change
// what the snapshot refers to: another one may be the same.
func (c *Cluster) Snapshot() source.Snapshot {
	c.mu.Lock()
	if c.fresh && len(c.ahead) == 0 { // what is known ahead is forgotten by the clock
		defer c.mu.Unlock()
		return c.snap
	}
	c.fresh = true // what changes from here on makes it stale
	c.mu.Unlock()
	s := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snap = s
	return s
}

// read converts all that is cached.
func (c *Cluster) read() source.Snapshot {
	s := source.Snapshot{Synced: true}
	ahead := c.stillAhead()
	for _, name := range slices.Sorted(maps.Keys(c.informers)) {
		inf := c.informers[name]
		s.Synced = s.Synced && inf.HasSynced()
		if s.Version != "" {
			s.Version += ","
		}
		s.Version += name + "=" + inf.LastSyncResourceVersion()
		for _, obj := range inf.GetStore().List() {
			if pod, ok := obj.(*corev1.Pod); ok && ahead[pod.Namespace+"/"+pod.Name] != nil {
				continue // one of the same name before it
			}
			if err := keep(&s.Objects, obj); err != nil {
				s.Errors = append(s.Errors, err.Error())
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(ahead)) {
		if err := keep(&s.Objects, ahead[key]); err != nil {
			s.Errors = append(s.Errors, err.Error())
		}
		s.Version += ",ahead:" + key + "=" + ahead[key].ResourceVersion
	}
	s.Seen = s.Version
	o := s.Objects
	slices.SortFunc(o.Namespaces, func(a, b state.Namespace) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(o.Nodes, func(a, b state.Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(o.Pods, func(a, b state.Pod) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	slices.SortFunc(o.NetworkPolicies, func(a, b state.NetworkPolicy) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.missing)) {
		s.Errors = append(s.Errors, lacking(c.missing[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(c.errors)) {
		if len(c.missing[name]) == 0 { // or that is why
			s.Errors = append(s.Errors, c.errors[name])
		}
	}
	return s
}

// keep adds an object; of one with a field that cannot be read it keeps the rest.
func keep(o *source.Objects, obj any) error {
	switch obj := obj.(type) {
	case *corev1.Namespace:
		o.Namespaces = append(o.Namespaces, source.Namespace(obj))
	case *corev1.Node:
		n, err := source.Node(obj)
		o.Nodes = append(o.Nodes, n)
		return err
	case *corev1.Pod:
		p, err := source.Pod(obj)
		o.Pods = append(o.Pods, p)
		return err
	case *networkingv1.NetworkPolicy:
		o.NetworkPolicies = append(o.NetworkPolicies, source.NetworkPolicy(obj))
	}
	return nil
}
