package lab_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/test/lab"
)

// networks are pods of each family over an underlay of each.
var networks = []struct{ pods, underlay lab.Families }{
	{lab.IPv4, lab.IPv6},
	{lab.IPv4, lab.Dual},
	{lab.IPv6, lab.IPv4},
	{lab.IPv6, lab.IPv6},
	{lab.IPv6, lab.Dual},
	{lab.Dual, lab.IPv4},
	{lab.Dual, lab.IPv6},
	{lab.Dual, lab.Dual},
	{lab.DualIPv6, lab.DualIPv6},
}

// TestEverythingReachesEverythingInEachFamily: pods on one node and on two, nodes and
// outside, with small packets and such that fill the MTU, and what is spoken to outside
// leaves with the node's address.
func TestEverythingReachesEverythingInEachFamily(t *testing.T) {
	for _, n := range networks {
		t.Run("pods "+string(n.pods)+", underlay "+string(n.underlay), func(t *testing.T) {
			l := up(t, lab.Options{Families: n.pods, Underlay: n.underlay})
			results := probe(t, l, lab.ProbeRequest{})
			expectAll(t, results)
			tried := map[bool]int{}
			for _, result := range results {
				address := netip.MustParseAddr(result.Address)
				if strings.HasPrefix(result.To, "default/") {
					tried[address.Is4()]++
				}
				if result.To != "outside" || result.Protocol == "icmp" || strings.HasPrefix(result.From, "node/") {
					continue
				}
				from := pod(t, l, result.From)
				if !answeredTo(node(t, l, from.Node), address, result.AnsweredBy) {
					t.Errorf("%s came to outside as %q, not as its node", result.From, result.AnsweredBy)
				}
			}
			if want := n.pods != lab.IPv6; want != (tried[true] > 0) {
				t.Errorf("%d attempts to pods by IPv4", tried[true])
			}
			if want := n.pods != lab.IPv4; want != (tried[false] > 0) {
				t.Errorf("%d attempts to pods by IPv6", tried[false])
			}
			want := 1450
			if n.underlay == lab.IPv6 {
				want = 1430
			}
			if got := status(t, l, "n1").MTU; got != want {
				t.Errorf("pods' MTU is %d, want %d", got, want)
			}
		})
	}
}

// answeredTo tells whether outside answered to an address of the node, of the family that
// it was spoken to by.
func answeredTo(n lab.NodeListing, by netip.Addr, answer string) bool {
	for _, own := range n.Addresses {
		if own.Is4() == by.Is4() && answer == "outside "+own.String() {
			return true
		}
	}
	return false
}

// TestPacketsFillTheMTUOverIPv6AndNoMore: IPv6 takes 20 bytes more.
func TestPacketsFillTheMTUOverIPv6AndNoMore(t *testing.T) {
	l := up(t, lab.Options{Families: lab.Dual, Underlay: lab.IPv6})
	const mtu = 1500 - 70
	for _, to := range []string{"b1", "a2", "node/n1", "node/n2"} {
		for _, end := range ends(t, to) {
			for _, header := range []int{20 + 8, 40 + 8} {
				for size, reaches := range map[int]bool{mtu - header: true, mtu - header + 1: false} {
					for _, result := range probe(t, l, lab.ProbeRequest{From: ends(t, "a1"), To: []lab.Endpoint{end}, Protocol: "icmp", Size: size}) {
						if v6 := strings.Contains(result.Address, ":"); v6 != (header == 48) {
							continue
						}
						if result.Reached != reaches || !reaches && !strings.Contains(result.Error, "MTU") {
							t.Errorf("%d bytes to %s: reached %v: %s", size, result.Address, result.Reached, result.Error)
						}
					}
				}
			}
		}
	}
}

// TestNodesOfOneFamilyInADualStackCluster: what two have in common works, over whatever
// underlay they have in common.
func TestNodesOfOneFamilyInADualStackCluster(t *testing.T) {
	const nodes = `
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: ["fd00:10:244:1::/64", 10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: "fd09::1"}, {type: InternalIP, address: 10.9.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: [10.244.2.0/24]}
status: {addresses: [{type: InternalIP, address: 10.9.0.2}]}
---
apiVersion: v1
kind: Node
metadata: {name: n3}
spec: {podCIDRs: ["fd00:10:244:3::/64"]}
status: {addresses: [{type: InternalIP, address: "fd09::3"}]}
`
	objects, err := lab.ParseObjects("test", []byte(nodes))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 3, Families: lab.Dual, Objects: append(objects, lab.Example(3)...)})
	for _, pair := range [][]string{{"a1", "a2"}, {"a2", "b1"}, {"a1", "a3"}, {"a3", "b1"}} {
		expectAll(t, probe(t, l, lab.ProbeRequest{From: ends(t, pair[0]), To: ends(t, pair[1])}))
	}
	for name, want := range map[string]string{"n1": "", "n2": "node n3 has no InternalIP of a family of this node's", "n3": "node n2 has no InternalIP of a family of this node's"} {
		problems := strings.Join(status(t, l, name).Problems, "\n")
		if want == "" && problems != "" || !strings.Contains(problems, want) {
			t.Errorf("%s: problems %q, want %q", name, problems, want)
		}
	}
	if s := status(t, l, "n1"); s.Tunnel.LocalAddress != "fd09::1" || s.Tunnel.OtherLocalAddress != "10.9.0.1" || s.MTU != 1430 {
		t.Errorf("n1: tunnels from %q and %q, MTU %d", s.Tunnel.LocalAddress, s.Tunnel.OtherLocalAddress, s.MTU)
	}
}

// TestAFamilyIsAddedToANode: pods that are there stay as they are, and are reached; new
// ones have both families. The nodes' own second family joins the same way.
func TestAFamilyIsAddedToANode(t *testing.T) {
	l := up(t, lab.Options{Families: lab.IPv4})
	expectAll(t, probe(t, l, lab.ProbeRequest{}))
	old := pod(t, l, "a1").Addresses
	const nodes = `
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.244.1.0/24, "fd00:10:244:1::/64"]}
status: {addresses: [{type: InternalIP, address: 10.9.0.1}, {type: InternalIP, address: "fd09::1"}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: ["fd00:10:244:2::/64", 10.244.2.0/24]}
status: {addresses: [{type: InternalIP, address: "fd09::2"}, {type: InternalIP, address: 10.9.0.2}]}
`
	apply(t, l, nodes)
	apply(t, l, strings.NewReplacer("a1", "new1", "a2", "new2").Replace(exampleText))
	expectAll(t, probe(t, l, lab.ProbeRequest{From: ends(t, "new1", "new2", "a1", "b2"), To: ends(t, "new1", "new2", "a1", "b2")}))
	for name, want := range map[string]int{"new1": 2, "new2": 2, "a1": 1} {
		if got := pod(t, l, name).Addresses; len(got) != want {
			t.Errorf("%s has addresses %v", name, got)
		}
	}
	if got := pod(t, l, "a1").Addresses; got[0] != old[0] {
		t.Errorf("a1 had %v and has %v", old, got)
	}
	if out, err := l.Exec(t.Context(), "new1", "ping", "-6", "-c1", "-W2", pod(t, l, "new2").Addresses[1].String()); err != nil {
		t.Errorf("new1 does not reach new2 by IPv6: %v: %s", err, out)
	}
}

const exampleText = `
apiVersion: v1
kind: Pod
metadata: {name: a1}
spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a2}
spec: {nodeName: n2, containers: [{name: c, ports: [{containerPort: 8080}]}]}
`
