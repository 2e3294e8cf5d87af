package statetest

import (
	"fmt"
	"net/netip"

	"github.com/sluice-cni/sluice/flows/state"
)

// Ruled is a cluster of so many pods in 50 namespaces, of which 100 are here, and of so many
// rules, ten in each policy: each selects the pods of one app of a namespace and names ten apps.
func Ruled(pods, rules int) state.State {
	const namespaces, apps = 50, 20
	s := state.State{Node: "n1", Nodes: []state.Node{{Name: "n1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.128.0.0/24")}, Ready: true}}}
	for i := range namespaces {
		name := fmt.Sprintf("ns%02d", i)
		s.Namespaces = append(s.Namespaces, state.Namespace{Name: name, Labels: map[string]string{state.NamespaceNameLabel: name, "team": fmt.Sprint(i % 5)}})
	}
	for i := range pods {
		p := state.Pod{
			Namespace: fmt.Sprintf("ns%02d", i%namespaces), Name: fmt.Sprintf("p%05d", i),
			Labels:    map[string]string{"app": fmt.Sprintf("app%d", i/namespaces%apps), "hash": fmt.Sprint(i / namespaces % apps)},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(128 + i>>16), byte(i >> 8), byte(i)})},
		}
		s.Pods = append(s.Pods, p)
		if i < 100 {
			s.Attachments = append(s.Attachments, state.Attachment{ContainerID: p.Name, PodNamespace: p.Namespace, PodName: p.Name, OFPort: uint32(256 + i), Addresses: p.Addresses})
		}
	}
	for i := range rules / 10 {
		p := state.NetworkPolicy{Namespace: fmt.Sprintf("ns%02d", i%namespaces), Name: fmt.Sprintf("np%05d", i), Selects: *app(i / namespaces % apps)}
		for j := range 10 {
			p.Ingress = append(p.Ingress, state.PolicyRule{
				Peers: []state.PolicyPeer{{Namespaces: &state.Selector{Labels: map[string]string{"team": fmt.Sprint(j % 5)}}, Pods: app((i + j) % apps)}},
				Ports: []state.PolicyPort{{Number: 80}, {Number: 443}},
			})
		}
		s.NetworkPolicies = append(s.NetworkPolicies, p)
	}
	return s
}

func app(i int) *state.Selector {
	return &state.Selector{Labels: map[string]string{"app": fmt.Sprintf("app%d", i)}}
}
