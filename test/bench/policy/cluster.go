package main

import (
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluice-cni/sluice/test/apiserver"
)

// Resources of the API.
const (
	namespacesPath = "/api/v1/namespaces"
	nodesPath      = "/api/v1/nodes"
	podsPath       = "/api/v1/pods"
	policiesPath   = "/apis/networking.k8s.io/v1/networkpolicies"
)

const (
	namespaces = 50
	// apps are how many kinds of pods each namespace has; the node has a pod of the first in each.
	apps = 20
	// perNode is how many pods another node has.
	perNode = 250
)

func namespaceName(i int) string { return fmt.Sprintf("ns%02d", i%namespaces) }

// cluster puts objects into an API server.
type cluster struct {
	*apiserver.Server
	pods, policies int
}

func (c *cluster) put(resource string, objects ...runtime.Object) error {
	var errs []error
	for _, o := range objects {
		errs = append(errs, c.Put(resource, o))
	}
	return errors.Join(errs...)
}

func (c *cluster) begin(node *corev1.Node) error {
	err := c.put(nodesPath, node)
	for i := range namespaces {
		err = errors.Join(err, c.put(namespacesPath, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: namespaceName(i), Labels: map[string]string{corev1.LabelMetadataName: namespaceName(i), "team": fmt.Sprint(i % 5)},
		}}))
	}
	return err
}

// elsewhere is the address of the i-th pod of the other nodes.
func elsewhere(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(128 + i/perNode>>8), byte(i / perNode), byte(2 + i%perNode)})
}

// pod is the i-th of the other nodes, in one of its two versions.
func remotePod(i, version int) *corev1.Pod {
	return newPod(namespaceName(i), fmt.Sprintf("p%05d", i), fmt.Sprintf("w%d", i/perNode), elsewhere(i).String(),
		map[string]string{"app": fmt.Sprintf("app%d", (i/namespaces+version)%apps), "pod-template-hash": fmt.Sprint(i / namespaces % apps)})
}

func newPod(namespace, name, node, address string, labels map[string]string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("u-" + name), Labels: labels},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if address != "" {
		p.Status.PodIP, p.Status.PodIPs = address, []corev1.PodIP{{IP: address}}
	}
	return p
}

// grow brings the cluster to so many pods and rules; it never takes any away.
func (c *cluster) grow(pods, rules int) error {
	var errs []error
	for ; c.pods < pods; c.pods++ {
		if c.pods%perNode == 0 {
			errs = append(errs, c.put(nodesPath, otherNode(c.pods/perNode)))
		}
		errs = append(errs, c.put(podsPath, remotePod(c.pods, 0)))
	}
	for ; c.policies < rules/10; c.policies++ {
		errs = append(errs, c.put(policiesPath, tenRules(c.policies)))
	}
	return errors.Join(errs...)
}

// shrink takes all policies away.
func (c *cluster) shrink() {
	for ; c.policies > 0; c.policies-- {
		p := tenRules(c.policies - 1)
		c.Delete(policiesPath, p.Namespace, p.Name)
	}
}

func otherNode(i int) *corev1.Node {
	cidr := fmt.Sprintf("10.%d.%d.0/24", 128+i>>8, i&255)
	return newNode(fmt.Sprintf("w%d", i), cidr, fmt.Sprintf("10.9.%d.%d", 1+i/200, 1+i%200))
}

func newNode(name, cidr, address string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("u-" + name)},
		Spec:       corev1.NodeSpec{PodCIDR: cidr, PodCIDRs: []string{cidr}},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

// tenRules is the i-th policy: each rule is about pods of an app in the namespaces of a team.
func tenRules(i int) *networkingv1.NetworkPolicy {
	var rules []networkingv1.NetworkPolicyIngressRule
	for j := range 10 {
		rules = append(rules, networkingv1.NetworkPolicyIngressRule{
			From: []networkingv1.NetworkPolicyPeer{{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": fmt.Sprint((i + j) % 5)}},
				PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprintf("app%d", (i/namespaces+j)%apps)}},
			}},
			Ports: []networkingv1.NetworkPolicyPort{{Port: ptr(intstr.FromInt32(80))}, {Port: ptr(intstr.FromInt32(int32(1000 + j)))}},
		})
	}
	return newPolicy(namespaceName(i), fmt.Sprintf("np%05d", i), fmt.Sprintf("app%d", i/namespaces%apps), networkingv1.NetworkPolicySpec{Ingress: rules})
}

func newPolicy(namespace, name, app string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	spec.PodSelector = metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("u-" + name)}, Spec: spec}
}

func ptr[T any](v T) *T { return &v }
