package lab

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Object is a Kubernetes object of any kind, with all its fields, known to the
// lab or not.
type Object struct {
	*unstructured.Unstructured
	// Source is the file and line where the object was read, for messages.
	Source string
}

// Key names an object. Versions of one kind are the same kind.
type Key struct {
	Group, Kind     string
	Namespace, Name string
}

var (
	namespaceKind = schema.GroupKind{Kind: "Namespace"}
	nodeKind      = schema.GroupKind{Kind: "Node"}
	podKind       = schema.GroupKind{Kind: "Pod"}
	serviceKind   = schema.GroupKind{Kind: "Service"}
)

func nodeKey(name string) Key           { return Key{Kind: nodeKind.Kind, Name: name} }
func namespaceKey(name string) Key      { return Key{Kind: namespaceKind.Kind, Name: name} }
func podKey(namespace, name string) Key { return Key{"", podKind.Kind, namespace, name} }

// groupKind is the key's kind in its API group.
func (k Key) groupKind() schema.GroupKind { return schema.GroupKind{Group: k.Group, Kind: k.Kind} }

// String is kind/name or kind/namespace/name, as people write it.
func (k Key) String() string {
	parts := []string{strings.ToLower(k.Kind)}
	if k.Namespace != "" {
		parts = append(parts, k.Namespace)
	}
	return strings.Join(append(parts, k.Name), "/")
}

// fileName is the object's file in a manifests directory: kind, namespace and
// name, like pod_default_web.yaml, with the API group beside the kind for all
// groups but the core one.
func (k Key) fileName() string {
	name := filePrefix(k.groupKind())
	if k.Namespace != "" {
		name += k.Namespace + "_"
	}
	// The separator is escaped too, or two objects might have one file.
	name += strings.ReplaceAll(url.PathEscape(k.Name), "_", "%5F")
	const suffix = ".yaml"
	return shorten(name, maxFileName-len(suffix)) + suffix
}

// filePrefix is how the files of all objects of a kind begin.
func filePrefix(kind schema.GroupKind) string {
	name := strings.ToLower(kind.Kind)
	if kind.Group != "" {
		name += "." + kind.Group
	}
	return name + "_"
}

// Key is the object's.
func (o Object) Key() Key {
	gvk := o.GroupVersionKind()
	return Key{Group: gvk.Group, Kind: gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// clone is a copy that shares nothing with o.
func (o Object) clone() Object { return Object{o.DeepCopy(), o.Source} }

// yaml is the object as a manifest.
func (o Object) yaml() ([]byte, error) {
	data, err := yaml.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("write %s as YAML: %w", o.Key(), err)
	}
	return data, nil
}

// decode reads the object into a typed one. The error names the field that has
// the wrong type.
func (o Object) decode(into any) error {
	data, err := json.Marshal(o.Object)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", o.Source, o.Key(), err)
	}
	return nil
}

func (o Object) pod() (*corev1.Pod, error) {
	pod := new(corev1.Pod)
	return pod, o.decode(pod)
}

func (o Object) node() (*corev1.Node, error) {
	node := new(corev1.Node)
	return node, o.decode(node)
}

// clusterScoped are the kinds without a namespace in the API groups of
// Kubernetes itself.
var clusterScoped = map[schema.GroupKind]bool{
	namespaceKind:              true,
	nodeKind:                   true,
	{Kind: "PersistentVolume"}: true,
	{Group: "networking.k8s.io", Kind: "IngressClass"}:               true,
	{Group: "networking.k8s.io", Kind: "IPAddress"}:                  true,
	{Group: "networking.k8s.io", Kind: "ServiceCIDR"}:                true,
	{Group: "policy.networking.k8s.io", Kind: "*"}:                   true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:        true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: true,
}

// namespacedGroups are the API groups whose kinds have a namespace unless
// clusterScoped says otherwise. Of other groups nothing is known.
var namespacedGroups = map[string]bool{
	"": true, "apps": true, "batch": true, "autoscaling": true, "policy": true,
	"discovery.k8s.io": true, "networking.k8s.io": true,
	"rbac.authorization.k8s.io": true, "gateway.networking.k8s.io": true,
}

// scope is what is known of a kind: true and whether it has a namespace, or false.
func scope(kind schema.GroupKind) (namespaced, known bool) {
	switch {
	case clusterScoped[kind], clusterScoped[schema.GroupKind{Group: kind.Group, Kind: "*"}]:
		return false, true
	case namespacedGroups[kind.Group]:
		return true, true
	}
	return false, false
}
