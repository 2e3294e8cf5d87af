package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// numberedNode makes up the Node n1, n2, ... as a cluster with a controller that
// gives out pod CIDRs would have it.
func numberedNode(number int, families Families) Object {
	cidrs := []any{}
	for _, cidr := range families.podCIDRs(number) {
		cidrs = append(cidrs, cidr)
	}
	return Object{&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": fmt.Sprintf("n%d", number)},
		"spec":     map[string]any{"podCIDR": cidrs[0], "podCIDRs": cidrs},
	}}, "made up"}
}

// withNumberedNodes adds the first count numbered Nodes to what was given, less
// those that were given.
func withNumberedNodes(given []Object, count int, families Families) []Object {
	all := slices.Clone(given)
	for number := count; number >= 1; number-- {
		node := numberedNode(number, families)
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
	addresses, err := c.addressesOf(object, old, exists, done)
	if err != nil {
		return err
	}
	setNodeStatus(object, addresses)
	if exists && !slices.Equal(addresses, nodeAddresses(old)) {
		done.movedNodes = append(done.movedNodes, object.GetName())
	}
	return nil
}

// addressesOf are the Node's addresses on the underlay, of the families that it asks for
// or else of the lab's. They have the number that the node has, that of the address it
// asks for, that of its name, or the first free one.
func (c *cluster) addressesOf(object, old Object, exists bool, done *change) ([]netip.Addr, error) {
	asked := nodeAddresses(object)
	families := c.underlay
	if len(asked) > 0 {
		families = familiesOf(asked)
	}
	if exists {
		has := nodeAddresses(old)
		number := numberOf(has[0])
		if len(asked) == 0 {
			return has, nil
		}
		if numberOf(asked[0]) != number {
			done.note("%s: node %s keeps its address %s", object.Source, object.GetName(), has[0])
			return has, nil
		}
		return families.nodeAddresses(number), nil
	}
	taken := map[int]bool{outsideNumber: true}
	for _, other := range c.ofKind(nodeKind) {
		taken[numberOf(nodeAddresses(other)[0])] = true
	}
	if len(asked) > 0 {
		if number := numberOf(asked[0]); number != 0 && !taken[number] {
			return families.nodeAddresses(number), nil
		}
	}
	number, err := freeNumber(object, taken)
	if err != nil {
		return nil, err
	}
	addresses := families.nodeAddresses(number)
	if len(asked) > 0 {
		done.note("%s: node %s has the address %s: %s is not free in the lab's underlay network %s",
			object.Source, object.GetName(), addresses[0], asked[0], underlay)
	}
	return addresses, nil
}

var numberedName = regexp.MustCompile(`^n(\d{1,3})$`)

func freeNumber(object Object, taken map[int]bool) (int, error) {
	if match := numberedName.FindStringSubmatch(object.GetName()); match != nil {
		number, _ := strconv.Atoi(match[1])
		if number >= 1 && number <= maxNodes && !taken[number] {
			return number, nil
		}
	}
	for number := 1; number <= maxNodes; number++ {
		if !taken[number] {
			return number, nil
		}
	}
	return 0, fmt.Errorf("%s: no address for node %s: a lab has %d nodes at most", object.Source, object.GetName(), maxNodes)
}

// setNodeStatus writes what a kubelet would: addresses, host name, readiness.
func setNodeStatus(object Object, internal []netip.Addr) {
	addresses := []any{}
	for _, address := range internal {
		addresses = append(addresses, map[string]any{"type": "InternalIP", "address": address.String()})
	}
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
