package kube

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/state"
)

// lists are the cluster's objects, converted.
type lists struct {
	namespaces      list[state.Namespace]
	nodes           list[state.Node]
	pods            list[state.Pod]
	networkPolicies list[state.NetworkPolicy]
	services        list[state.Service]
	endpointSlices  list[state.EndpointSlice]
}

// take converts the objects of a resource anew whose keys are given.
func (l *lists) take(resource string, store cache.KeyGetter, keys map[string]bool) {
	switch resource {
	case "namespaces":
		take(&l.namespaces, store, keys, func(ns *corev1.Namespace) (state.Namespace, bool, error) { return source.Namespace(ns), true, nil })
	case "nodes":
		take(&l.nodes, store, keys, func(n *corev1.Node) (state.Node, bool, error) { out, err := source.Node(n); return out, true, err })
	case "pods":
		take(&l.pods, store, keys, pod)
	case "networkpolicies":
		take(&l.networkPolicies, store, keys, func(p *networkingv1.NetworkPolicy) (state.NetworkPolicy, bool, error) {
			return source.NetworkPolicy(p), true, nil
		})
	case "services":
		take(&l.services, store, keys, source.Service)
	case "endpointslices":
		take(&l.endpointSlices, store, keys, source.EndpointSlice)
	}
}

func pod(p *corev1.Pod) (state.Pod, bool, error) {
	out, err := source.Pod(p)
	return out, true, err
}

// objects are all, each list in the order of keys, and what could not be read of them.
func (l *lists) objects() (o source.Objects, errs []string) {
	o = source.Objects{
		Namespaces: l.namespaces.items, Nodes: l.nodes.items, Pods: l.pods.items, NetworkPolicies: l.networkPolicies.items,
		Services: l.services.items, EndpointSlices: l.endpointSlices.items,
	}
	for _, all := range []map[string]string{
		l.endpointSlices.errs, l.namespaces.errs, l.networkPolicies.errs, l.nodes.errs, l.pods.errs, l.services.errs,
	} {
		for _, key := range slices.Sorted(maps.Keys(all)) {
			errs = append(errs, all[key])
		}
	}
	return o, errs
}

// list is a resource's objects, converted. An event costs the conversion of its object and a copy
// of the slice: what was given out before stays as it was.
type list[T any] struct {
	// keys, sorted, are those of items: namespace/name, or the name.
	keys  []string
	items []T
	// errs are why objects could not be read whole, by key.
	errs map[string]string
}

// get is the object of that key.
func (l *list[T]) get(key string) (item T, ok bool) {
	i, ok := slices.BinarySearch(l.keys, key)
	if ok {
		item = l.items[i]
	}
	return item, ok
}

// take converts the objects anew whose keys are given: those that there are no more go. An object
// with a field that cannot be read is kept without it.
func take[O, T any](l *list[T], store cache.KeyGetter, changed map[string]bool, convert func(O) (T, bool, error)) {
	if len(changed) == 0 {
		return
	}
	next := list[T]{
		keys: make([]string, 0, len(l.keys)+len(changed)), items: make([]T, 0, len(l.keys)+len(changed)), errs: maps.Clone(l.errs),
	}
	i := 0
	upTo := func(end int) {
		next.keys, next.items = append(next.keys, l.keys[i:end]...), append(next.items, l.items[i:end]...)
		i = end
	}
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		at, found := slices.BinarySearchFunc(l.keys[i:], key, strings.Compare)
		upTo(i + at)
		if found {
			i++
		}
		delete(next.errs, key)
		obj, there, err := store.GetByKey(key)
		if err != nil || !there {
			continue
		}
		item, ok, err := convert(obj.(O))
		if err != nil {
			if next.errs == nil {
				next.errs = map[string]string{}
			}
			next.errs[key] = err.Error()
		}
		if ok {
			next.keys, next.items = append(next.keys, key), append(next.items, item)
		}
	}
	upTo(len(l.keys))
	*l = next
}
