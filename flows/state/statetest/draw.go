// Package statetest draws states for property tests.
package statetest

import (
	"net/netip"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/state"
)

// Draw makes a small cluster with everything that goes wrong in one: podCIDRs
// and addresses claimed twice, nodes without either, families mixed.
func Draw(t *rapid.T) state.State {
	cidr := rapid.SampledFrom([]string{"10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24", "10.244.0.0/16", "fd00:1::/64", "fd00:2::/64"})
	address := rapid.SampledFrom([]string{"10.9.0.1", "10.9.0.2", "10.9.0.3", "fd09::1", "fd09::2"})
	podIP := rapid.SampledFrom([]string{"10.244.1.2", "10.244.1.3", "10.244.2.2", "192.168.7.7", "fd00:1::2", "fd00:1::3"})
	name := rapid.SampledFrom([]string{"n1", "n2", "n3"})
	s := state.State{Node: "n1"}
	for _, n := range rapid.SliceOfNDistinct(name, 0, 3, rapid.ID[string]).Draw(t, "nodes") {
		node := state.Node{Name: n, Ready: rapid.Bool().Draw(t, "ready"), Deleting: rapid.Bool().Draw(t, "deleting"), Created: rapid.Int64Range(0, 2).Draw(t, "created")}
		for _, c := range rapid.SliceOfN(cidr, 0, 2).Draw(t, "podCIDRs") {
			node.PodCIDRs = append(node.PodCIDRs, netip.MustParsePrefix(c))
		}
		for _, a := range rapid.SliceOfN(address, 0, 2).Draw(t, "addresses") {
			node.Addresses = append(node.Addresses, netip.MustParseAddr(a))
		}
		s.Nodes = append(s.Nodes, node)
	}
	for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"c1", "c2", "c3", "c4"}), 0, 4, rapid.ID[string]).Draw(t, "containers") {
		a := state.Attachment{
			Network: "sluice", ContainerID: id, IfName: "eth0", MAC: "0a:58:00:00:00:01",
			OFPort: rapid.Uint32Range(255, 258).Draw(t, "ofport"), Created: rapid.Int64Range(0, 2).Draw(t, "created"),
		}
		if rapid.Bool().Draw(t, "pod") {
			a.PodNamespace, a.PodName = "default", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
		}
		for _, ip := range rapid.SliceOfNDistinct(podIP, 1, 2, rapid.ID[string]).Draw(t, "addresses") {
			a.Addresses = append(a.Addresses, netip.MustParseAddr(ip))
		}
		s.Attachments = append(s.Attachments, a)
	}
	// They are on no cable of the above, and so nothing to whoever does not ask for policies.
	other := DrawPolicies(t)
	s.Namespaces, s.Pods, s.NetworkPolicies = other.Namespaces, other.Pods, other.NetworkPolicies
	DrawServices(t, &s)
	DrawHostPorts(t, &s)
	return s
}
