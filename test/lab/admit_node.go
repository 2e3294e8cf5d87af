package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The underlay is the network between the nodes. Labs do not see each other, so
// each has the same.
var (
	underlay       = netip.MustParsePrefix("10.9.0.0/24")
	outsideAddress = netip.MustParseAddr("10.9.0.250")
)

// maxNodes is how many nodes a lab can have: they have the underlay's addresses
// from .1, and the pod CIDRs 10.244.1.0/24 onwards with the same number.
const maxNodes = 200

func nodeAddress(number int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 9, 0, byte(number)})
}

func nodePodCIDR(number int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(number), 0}), 24)
}

// numberedNode makes up the Node n1, n2, ... as a cluster with a controller that
// gives out pod CIDRs would have it.
func numberedNode(number int) Object {
	cidr := nodePodCIDR(number).String()
	return Object{&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": fmt.Sprintf("n%d", number)},
		"spec":     map[string]any{"podCIDR": cidr, "podCIDRs": []any{cidr}},
	}}, "made up"}
}

// withNumberedNodes adds the first count numbered Nodes to what was given, less
// those that were given.
func withNumberedNodes(given []Object, count int) []Object {
	all := slices.Clone(given)
	for number := count; number >= 1; number-- {
		node := numberedNode(number)
		if !slices.ContainsFunc(given, func(o Object) bool { return o.Key() == node.Key() }) {
			all = slices.Insert(all, 0, node)
		}
	}
	return all
}

// admitNode does what the kubelet and the cloud do to a Node: its address and
// conditions.
func (c *cluster) admitNode(object, old Object, exists bool, done *change) error {
	if _, err := object.node(); err != nil {
		return err
	}
	for _, cidr := range podCIDRs(object) {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			return fmt.Errorf("%s: %s: spec.podCIDRs: %q is no prefix, like 10.244.1.0/24", object.Source, object.Key(), cidr)
		}
	}
	if !exists {
		done.newNodes = append(done.newNodes, object.GetName())
		if len(podCIDRs(object)) == 0 {
			done.note("%s: node %s has no spec.podCIDRs, as given: no pod gets an address there", object.Source, object.GetName())
		}
	} else if len(podCIDRs(object)) == 0 && len(podCIDRs(old)) > 0 {
		// A Node's CIDRs never change (Node API, spec.podCIDRs).
		list := []any{}
		for _, cidr := range podCIDRs(old) {
			list = append(list, cidr)
		}
		set(object, list, "spec", "podCIDRs")
		set(object, list[0], "spec", "podCIDR")
	}
	address, err := c.addressOf(object, old, exists, done)
	if err != nil {
		return err
	}
	setNodeStatus(object, address)
	return nil
}

// addressOf is the Node's address on the underlay: the one it has, the one it
// asks for, the one of its number, or the first free one.
func (c *cluster) addressOf(object, old Object, exists bool, done *change) (netip.Addr, error) {
	asked := nodeAddresses(object)
	if exists {
		has := nodeAddresses(old)[0]
		if len(asked) > 0 && asked[0] != has {
			done.note("%s: node %s keeps its address %s", object.Source, object.GetName(), has)
		}
		return has, nil
	}
	taken := map[netip.Addr]bool{outsideAddress: true}
	for _, other := range c.ofKind(nodeKind) {
		for _, address := range nodeAddresses(other) {
			taken[address] = true
		}
	}
	if len(asked) > 0 && underlay.Contains(asked[0]) && !taken[asked[0]] {
		return asked[0], nil
	}
	address, err := freeAddress(object, taken)
	if err == nil && len(asked) > 0 {
		done.note("%s: node %s has the address %s: %s is not free in the lab's underlay network %s",
			object.Source, object.GetName(), address, asked[0], underlay)
	}
	return address, err
}

var numberedName = regexp.MustCompile(`^n(\d{1,3})$`)

func freeAddress(object Object, taken map[netip.Addr]bool) (netip.Addr, error) {
	if match := numberedName.FindStringSubmatch(object.GetName()); match != nil {
		number, _ := strconv.Atoi(match[1])
		if number >= 1 && number <= maxNodes && !taken[nodeAddress(number)] {
			return nodeAddress(number), nil
		}
	}
	for number := 1; number <= maxNodes; number++ {
		if address := nodeAddress(number); !taken[address] {
			return address, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s: no address for node %s: a lab has %d nodes at most", object.Source, object.GetName(), maxNodes)
}

// setNodeStatus writes what a kubelet would: address, host name, readiness.
func setNodeStatus(object Object, address netip.Addr) {
	addresses := []any{map[string]any{"type": "InternalIP", "address": address.String()}}
	list, _, _ := unstructured.NestedSlice(object.Object, "status", "addresses")
	hasHostname := false
	for _, item := range list {
		if fields, _ := item.(map[string]any); fields["type"] != "InternalIP" {
			addresses = append(addresses, item)
			hasHostname = hasHostname || fields["type"] == "Hostname"
		}
	}
	if !hasHostname {
		addresses = append(addresses, map[string]any{"type": "Hostname", "address": object.GetName()})
	}
	set(object, addresses, "status", "addresses")

	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	isReady := func(item any) bool {
		fields, _ := item.(map[string]any)
		return fields["type"] == "Ready"
	}
	if !slices.ContainsFunc(conditions, isReady) {
		set(object, append(conditions, map[string]any{"type": "Ready", "status": "True", "reason": "LabNode"}), "status", "conditions")
	}
	if object.GetLabels()["kubernetes.io/hostname"] == "" {
		setLabel(object, "kubernetes.io/hostname", object.GetName())
	}
}
