package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/sluice-cni/sluice/agent/source"
)

// newInformers makes one for each resource. (client-go's factory makes the same, but of a
// watch that works again they tell by its events only: of a resource without an object, never.)
func (c *Cluster) newInformers() map[string]cache.SharedIndexInformer {
	core, networking, discovery := c.client.CoreV1(), c.client.NetworkingV1(), c.client.DiscoveryV1()
	return map[string]cache.SharedIndexInformer{
		"namespaces": newInformer(c, "namespaces", &corev1.Namespace{}, core.Namespaces()),
		"nodes":      newInformer(c, "nodes", &corev1.Node{}, core.Nodes()),
		"pods":       newInformer(c, "pods", &corev1.Pod{}, core.Pods(metav1.NamespaceAll)),

		"networkpolicies": newInformer(c, "networkpolicies", &networkingv1.NetworkPolicy{}, networking.NetworkPolicies(metav1.NamespaceAll)),
		"services":        newInformer(c, "services", &corev1.Service{}, proxied[*corev1.ServiceList]{core.Services(metav1.NamespaceAll)}),
		"endpointslices": newInformer(c, "endpointslices", &discoveryv1.EndpointSlice{},
			proxied[*discoveryv1.EndpointSliceList]{discovery.EndpointSlices(metav1.NamespaceAll)}),
	}
}

// resource is a client of one; L is its list.
type resource[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// proxied is a resource without the objects that are not for a node's proxy: the API server
// does not send them.
type proxied[L runtime.Object] struct{ resource[L] }

const forProxies = "!" + source.LabelOtherProxy + ",!" + source.LabelHeadless

func (p proxied[L]) List(ctx context.Context, o metav1.ListOptions) (L, error) {
	o.LabelSelector = forProxies
	return p.resource.List(ctx, o)
}

func (p proxied[L]) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.LabelSelector = forProxies
	return p.resource.Watch(ctx, o)
}

func newInformer[L runtime.Object](c *Cluster, name string, object runtime.Object, api resource[L]) cache.SharedIndexInformer {
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return api.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := api.Watch(ctx, o)
			if err == nil {
				c.recovered(name)
			}
			return w, err
		},
	}
	inf := cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, c.client), object, 0, cache.Indexers{})
	_ = inf.SetTransform(slim) // an error only once it runs
	return inf
}

// recovered forgets why a resource could not be watched.
func (c *Cluster) recovered(resource string) {
	c.mu.Lock()
	_, failed := c.errors[resource]
	c.mu.Unlock()
	if failed {
		c.succeeded(resource)
	}
}
