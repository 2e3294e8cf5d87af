package lab

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// cluster is what an API server would hold: all objects, as last accepted. It
// does no I/O.
type cluster struct {
	objects map[Key]Object
	// now and newUID are what an API server adds to a new object.
	now    func() time.Time
	newUID func() string
	// underlay is of which families the nodes' addresses are.
	underlay Families
}

func newCluster(now func() time.Time, newUID func() string) *cluster {
	return &cluster{objects: map[Key]Object{}, now: now, newUID: newUID}
}

// change is what accepting objects came to.
type change struct {
	// objects is what was given, as it is now; namespaces that were made come first.
	objects []Object
	// newNodes are the names of Nodes that were not there before.
	newNodes []string
	// movedNodes are the names of those that have other addresses than before.
	movedNodes []string
	// notes tell the user what was decided for him.
	notes []string
}

func (c *change) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// ofKind are the objects of a kind, by namespace and name.
func (c *cluster) ofKind(kind schema.GroupKind) []Object {
	var objects []Object
	for key, object := range c.objects {
		if key.groupKind() == kind {
			objects = append(objects, object)
		}
	}
	slices.SortFunc(objects, func(a, b Object) int { return compareKeys(a.Key(), b.Key()) })
	return objects
}

// inNamespace are the keys of all objects in a namespace, in order.
func (c *cluster) inNamespace(namespace string) []Key {
	var keys []Key
	for key := range c.objects {
		if key.Namespace == namespace {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Namespace, b.Namespace), compareNames(a.Name, b.Name))
}

// compareNames puts n2 before n10.
func compareNames(a, b string) int {
	letters := func(name string) string { return strings.TrimRight(name, "0123456789") }
	if letters(a) == letters(b) && len(a) != len(b) {
		return cmp.Compare(len(a), len(b))
	}
	return cmp.Compare(a, b)
}

// accept takes new and changed objects as an API server would, with its
// controllers and the scheduler behind it. All of them or, with an error, none.
func (c *cluster) accept(given []Object) (*change, error) {
	next := &cluster{maps.Clone(c.objects), c.now, c.newUID, c.underlay}
	done := &change{}
	// Nodes first, as pods are put on them; their order decides the addresses.
	inOrder := slices.Clone(given)
	slices.SortStableFunc(inOrder, func(a, b Object) int { return cmp.Compare(rank(a), rank(b)) })
	for _, object := range inOrder {
		object = object.clone()
		key := object.Key()
		old, exists := next.objects[key]
		next.admit(object, old, exists)
		var err error
		switch key.groupKind() {
		case nodeKind:
			err = next.admitNode(object, old, exists, done)
		case podKind:
			next.addNamespace(key.Namespace, done)
			err = next.admitPod(object, old, exists)
		default:
			next.addNamespace(key.Namespace, done)
			if key.Group == "apps" || key.Group == "batch" {
				done.note("%s: %s is passed on to the agents, and nothing makes pods of it: a lab runs Pods", object.Source, key)
			}
		}
		if err != nil {
			return nil, err
		}
		next.objects[key] = object
		done.objects = append(done.objects, object)
	}
	c.objects = next.objects
	return done, nil
}

// rank is the order in which objects are accepted. Pods that have chosen their
// node come before those that are spread over the rest.
func rank(o Object) int {
	switch o.Key().groupKind() {
	case namespaceKind:
		return 0
	case nodeKind:
		return 1
	case podKind:
		if node, _, _ := unstructured.NestedString(o.Object, "spec", "nodeName"); node != "" {
			return 2
		}
	}
	return 3
}

// admit does to an object what an API server does to any.
func (c *cluster) admit(object, old Object, exists bool) {
	if object.GetUID() == "" {
		object.SetUID(types.UID(c.newUID()))
		if exists {
			object.SetUID(old.GetUID())
		}
	}
	if created, _, _ := unstructured.NestedString(object.Object, "metadata", "creationTimestamp"); created == "" {
		created = c.now().UTC().Format(time.RFC3339)
		if exists {
			created, _, _ = unstructured.NestedString(old.Object, "metadata", "creationTimestamp")
		}
		set(object, created, "metadata", "creationTimestamp")
	}
	// Status is not the user's: without one the last known stays.
	if _, given := object.Object["status"]; !given && exists && old.Object["status"] != nil {
		object.Object["status"] = old.clone().Object["status"]
	}
	if object.Key().groupKind() == namespaceKind {
		setLabel(object, "kubernetes.io/metadata.name", object.GetName())
	}
}

// addNamespace makes the Namespace if there is none.
func (c *cluster) addNamespace(name string, done *change) {
	key := namespaceKey(name)
	if _, exists := c.objects[key]; exists || name == "" {
		return
	}
	namespace := Object{&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}, "made up"}
	c.admit(namespace, Object{}, false)
	c.objects[key] = namespace
	done.objects = append(done.objects, namespace)
}

// nodeAddresses are the InternalIPs of a Node, as the lab set them.
func nodeAddresses(node Object) []netip.Addr {
	var addresses []netip.Addr
	for _, text := range nodeAddressTexts(node) {
		if address, err := netip.ParseAddr(text); err == nil {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

func nodeAddressTexts(node Object) []string {
	var texts []string
	list, _, _ := unstructured.NestedSlice(node.Object, "status", "addresses")
	for _, item := range list {
		fields, _ := item.(map[string]any)
		if fields["type"] == "InternalIP" {
			text, _ := fields["address"].(string)
			texts = append(texts, text)
		}
	}
	return texts
}

// podCIDRs are the Node's, from spec.podCIDRs or else spec.podCIDR.
func podCIDRs(node Object) []string {
	if node.Unstructured == nil {
		return nil
	}
	if list, _, _ := unstructured.NestedStringSlice(node.Object, "spec", "podCIDRs"); len(list) > 0 {
		return list
	}
	if one, _, _ := unstructured.NestedString(node.Object, "spec", "podCIDR"); one != "" {
		return []string{one}
	}
	return nil
}

// set puts a value into an object, making the maps on its way. Whoever calls has
// checked that nothing else stands there.
func set(object Object, value any, path ...string) {
	if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
		panic(fmt.Sprintf("%s: %s: %v", object.Source, object.Key(), err))
	}
}

func setLabel(object Object, key, value string) {
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[key] = value
	object.SetLabels(labels)
}
