package statetest

import (
	"fmt"
	"net/netip"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/state"
)

// PolicyPorts are the ports that drawn policies and pods speak of, and one beside each.
var PolicyPorts = []uint16{1, 79, 80, 81, 443, 1000, 1023, 1024, 1999, 2000, 65535}

// PolicyOutside are addresses that are no pod's, within and beside the blocks of drawn policies.
var PolicyOutside = []netip.Addr{
	netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("198.51.100.1"),
	netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2"),
	netip.MustParseAddr("10.244.1.1"),
}

// DrawPolicies makes a cluster of two nodes with pods, most of them on n1, the state's node, and
// NetworkPolicies that select them and each other in every way.
func DrawPolicies(t *rapid.T) state.State {
	s := state.State{Node: "n1", Nodes: []state.Node{
		drawnNode("n1", "10.9.0.1", "10.244.1.0/24", "fd00:1::/64"), drawnNode("n2", "10.9.0.2", "10.244.2.0/24", "fd00:2::/64"),
	}}
	for _, name := range []string{"a", "b", "c"} {
		if rapid.IntRange(0, 5).Draw(t, "known namespace") == 0 {
			continue
		}
		labels := drawLabels(t)
		labels[state.NamespaceNameLabel] = name
		s.Namespaces = append(s.Namespaces, state.Namespace{Name: name, Labels: labels})
	}
	for i := range rapid.IntRange(2, 8).Draw(t, "pods") {
		drawPod(t, &s, i)
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "policies") {
		s.NetworkPolicies = append(s.NetworkPolicies, drawPolicy(t, fmt.Sprintf("p%d", i)))
	}
	return s
}

func drawnNode(name, address string, podCIDRs ...string) state.Node {
	n := state.Node{Name: name, Ready: true, Addresses: []netip.Addr{netip.MustParseAddr(address)}}
	for _, c := range podCIDRs {
		n.PodCIDRs = append(n.PodCIDRs, netip.MustParsePrefix(c))
	}
	return n
}

var drawnNamespace = rapid.SampledFrom([]string{"a", "a", "b", "c"})

// drawLabels draws labels; one that is empty is not one that is missing.
func drawLabels(t *rapid.T) map[string]string {
	out := map[string]string{}
	for _, key := range []string{"app", "tier"} {
		if value := rapid.SampledFrom([]string{"-", "-", "x", "x", "y", ""}).Draw(t, key); value != "-" {
			out[key] = value
		}
	}
	return out
}

func drawPod(t *rapid.T, s *state.State, i int) {
	p := state.Pod{
		Namespace: drawnNamespace.Draw(t, "namespace"), Name: fmt.Sprintf("pod%d", i), Labels: drawLabels(t),
		Finished: rapid.IntRange(0, 9).Draw(t, "finished") == 0, Deleting: rapid.IntRange(0, 9).Draw(t, "deleting") == 0,
		Created: rapid.Int64Range(0, 2).Draw(t, "created"),
	}
	for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"http", "dns"}), 0, 2).Draw(t, "names") {
		p.Ports = append(p.Ports, state.NamedPort{
			Name: name, Protocol: drawnProtocol.Draw(t, "protocol"), Port: rapid.SampledFrom(PolicyPorts).Draw(t, "port"),
		})
	}
	node := 1
	if rapid.IntRange(0, 2).Draw(t, "remote") == 0 {
		node = 2
	}
	p.Node = fmt.Sprintf("n%d", node)
	host := i + 2
	if i > 0 && rapid.IntRange(0, 9).Draw(t, "same address") == 0 {
		host-- // the one before has it too
	}
	addresses := []netip.Addr{
		netip.MustParseAddr(fmt.Sprintf("10.244.%d.%d", node, host)), netip.MustParseAddr(fmt.Sprintf("fd00:%d::%d", node, host)),
	}[:rapid.IntRange(1, 2).Draw(t, "families")]
	switch {
	case rapid.IntRange(0, 9).Draw(t, "host network") == 0:
		p.HostNetwork, p.Addresses = true, []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.9.0.%d", node))}
	case node == 1 && rapid.IntRange(0, 9).Draw(t, "plugged in") > 0:
		s.Attachments = append(s.Attachments, state.Attachment{
			Network: "sluice", ContainerID: p.Name, IfName: "eth0", PodNamespace: p.Namespace, PodName: p.Name,
			OFPort: uint32(300 + i), MAC: fmt.Sprintf("0a:58:0a:f4:01:%02x", host), Addresses: addresses, Created: p.Created,
		})
		if rapid.Bool().Draw(t, "told") {
			p.Addresses = addresses
		}
		if rapid.IntRange(0, 9).Draw(t, "unknown") == 0 {
			return // the API has not told of it yet, or not any more
		}
	default:
		p.Addresses = addresses
	}
	s.Pods = append(s.Pods, p)
}

var drawnProtocol = rapid.SampledFrom([]state.Protocol{state.TCP, state.TCP, state.UDP, state.SCTP})

func drawPolicy(t *rapid.T, name string) state.NetworkPolicy {
	p := state.NetworkPolicy{
		Namespace: drawnNamespace.Draw(t, "policy's namespace"), Name: name, Selects: drawSelector(t),
		Types: rapid.SampledFrom([][]state.Direction{nil, {state.Ingress}, {state.Egress}, {state.Ingress, state.Egress}}).Draw(t, "types"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "ingress rules") {
		p.Ingress = append(p.Ingress, drawRule(t))
	}
	for range rapid.IntRange(0, 3).Draw(t, "egress rules") {
		p.Egress = append(p.Egress, drawRule(t))
	}
	if len(p.Ingress) > 0 && rapid.IntRange(0, 4).Draw(t, "a rule twice") == 0 {
		p.Ingress, p.Egress = append(p.Ingress, p.Ingress[0]), append(p.Egress, p.Ingress[0])
	}
	if rapid.IntRange(0, 19).Draw(t, "fault") == 0 {
		p.Fault, p.Ingress, p.Egress = "drawn", nil, nil
	}
	return p
}

func drawRule(t *rapid.T) state.PolicyRule {
	var r state.PolicyRule
	for range rapid.IntRange(0, 3).Draw(t, "peers") {
		r.Peers = append(r.Peers, drawPeer(t))
	}
	for range rapid.IntRange(0, 3).Draw(t, "ports") {
		p := state.PolicyPort{Protocol: rapid.SampledFrom([]state.Protocol{"", state.TCP, state.UDP, state.SCTP}).Draw(t, "protocol")}
		switch rapid.IntRange(0, 4).Draw(t, "port") {
		case 0:
		case 1:
			p.Name = rapid.SampledFrom([]string{"http", "dns", "none"}).Draw(t, "name")
		case 2:
			from := rapid.IntRange(0, len(PolicyPorts)-1).Draw(t, "first")
			p.Number, p.End = PolicyPorts[from], rapid.SampledFrom(PolicyPorts[from:]).Draw(t, "last")
		default:
			p.Number = rapid.SampledFrom(PolicyPorts).Draw(t, "number")
		}
		r.Ports = append(r.Ports, p)
	}
	return r
}

// drawnRanges are around the addresses of pods, nodes and those outside.
var drawnRanges = []string{
	"0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8", "10.9.0.0/16", "10.9.0.2/32", "10.244.0.0/16", "10.244.1.0/24", "10.244.1.0/30",
	"10.244.1.2/31", "10.244.1.3/32", "10.244.2.0/24", "192.0.2.0/24", "192.0.2.128/25", "192.0.2.200/32", "198.51.100.1/32",
	"::/0", "8000::/1", "fc00::/7", "fd00:1::/64", "fd00:1::2/127", "fd00:1::3/128", "2001:db8::/32", "2001:db8:1::/48", "2001:db8::1/128",
}

// drawBlock draws a range without some within it, which may overlap or be the same.
func drawBlock(t *rapid.T) *state.IPBlock {
	b := state.IPBlock{CIDR: netip.MustParsePrefix(rapid.SampledFrom(drawnRanges).Draw(t, "block"))}
	var within []netip.Prefix
	for _, r := range drawnRanges {
		if p := netip.MustParsePrefix(r); b.CIDR.Overlaps(p) && p.Bits() > b.CIDR.Bits() {
			within = append(within, p)
		}
	}
	if len(within) > 0 {
		b.Except = rapid.SliceOfN(rapid.SampledFrom(within), 0, 3).Draw(t, "except")
	}
	return &b
}

func drawPeer(t *rapid.T) state.PolicyPeer {
	var p state.PolicyPeer
	kind := rapid.IntRange(0, 3).Draw(t, "peer")
	if kind == 0 {
		p.Block = drawBlock(t)
		return p
	}
	if kind != 1 {
		s := drawSelector(t)
		p.Pods = &s
	}
	if kind != 2 {
		s := drawSelector(t)
		p.Namespaces = &s
	}
	return p
}

func drawSelector(t *rapid.T) state.Selector {
	var s state.Selector
	kind := rapid.IntRange(0, 7).Draw(t, "selector")
	if kind == 0 {
		return s
	}
	if kind <= 3 {
		s.Labels = map[string]string{rapid.SampledFrom([]string{"app", "tier"}).Draw(t, "key"): drawnValue.Draw(t, "value")}
	}
	if kind >= 3 {
		for range rapid.IntRange(1, 2).Draw(t, "requirements") {
			s.Requirements = append(s.Requirements, drawRequirement(t))
		}
	}
	return s
}

var drawnValue = rapid.SampledFrom([]string{"x", "x", "y", "z", ""})

func drawRequirement(t *rapid.T) state.Requirement {
	r := state.Requirement{
		Key:      rapid.SampledFrom([]string{"app", "tier", "never", state.NamespaceNameLabel}).Draw(t, "key"),
		Operator: rapid.SampledFrom([]state.Operator{state.In, state.NotIn, state.Exists, state.DoesNotExist}).Draw(t, "operator"),
	}
	if r.Operator == state.In || r.Operator == state.NotIn {
		values := drawnValue
		if r.Key == state.NamespaceNameLabel {
			values = drawnNamespace
		}
		r.Values = rapid.SliceOfN(values, 1, 3).Draw(t, "values")
	}
	return r
}
