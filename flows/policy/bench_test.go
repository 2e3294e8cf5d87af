package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/state"
)

// BenchmarkCompile: 1,000 pods of which 100 are here, a policy for each of them and 10 rules in
// each, all of which name one of 100 apps.
func BenchmarkCompile(b *testing.B) {
	s := ruled(b)
	n := 0
	for b.Loop() {
		n = len(policy.Compile(s).Flows())
	}
	b.ReportMetric(float64(n), "flows")
}

func ruled(b *testing.B) state.State {
	b.Helper()
	s := cluster(1000)
	s.Attachments = s.Attachments[:100]
	for i := range 100 {
		p := state.NetworkPolicy{Namespace: "a", Name: fmt.Sprintf("n%d", i), Selects: *app(fmt.Sprintf("p%d", i))}
		for j := range 10 {
			p.Ingress = append(p.Ingress, state.PolicyRule{
				Peers: []state.PolicyPeer{{Pods: app(fmt.Sprintf("p%d", (i+j)%100))}}, Ports: []state.PolicyPort{{Number: 80}, {Number: 443}},
			})
		}
		s.NetworkPolicies = append(s.NetworkPolicies, p)
	}
	return s
}

// inNamespaces is a cluster of so many pods in 50 namespaces, of which 100 are here, and of so many
// rules, ten in each policy: each selects the pods of one app of a namespace and names ten apps.
func inNamespaces(pods, rules int) state.State {
	const namespaces, apps = 50, 20
	s := state.State{Node: "n1", Nodes: []state.Node{{Name: "n1"}}}
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
		p := state.NetworkPolicy{Namespace: fmt.Sprintf("ns%02d", i%namespaces), Name: fmt.Sprintf("np%05d", i), Selects: *app(fmt.Sprintf("app%d", i/namespaces%apps))}
		for j := range 10 {
			p.Ingress = append(p.Ingress, state.PolicyRule{
				Peers: []state.PolicyPeer{{Namespaces: &state.Selector{Labels: map[string]string{"team": fmt.Sprint(j % 5)}}, Pods: app(fmt.Sprintf("app%d", (i+j)%apps))}},
				Ports: []state.PolicyPort{{Number: 80}, {Number: 443}},
			})
		}
		s.NetworkPolicies = append(s.NetworkPolicies, p)
	}
	return s
}

// BenchmarkChange is what one change costs in a cluster of 10,000 pods with 10,000 rules: a pod that
// comes or goes, here or elsewhere, and a policy.
func BenchmarkChange(b *testing.B) {
	whole := inNamespaces(10000, 10000)
	podHere, podThere, aPolicy := whole, whole, whole
	podHere.Attachments = whole.Attachments[:len(whole.Attachments)-1]
	podThere.Pods = whole.Pods[:len(whole.Pods)-1]
	aPolicy.NetworkPolicies = whole.NetworkPolicies[1:]
	for _, c := range []struct {
		name string
		less state.State
	}{{"a pod here", podHere}, {"a pod elsewhere", podThere}, {"a policy", aPolicy}} {
		b.Run(c.name, func(b *testing.B) {
			var k policy.Compiler
			b.ReportMetric(float64(len(k.Compile(whole).Flows())), "flows")
			for i := 0; b.Loop(); i++ {
				k.Compile([]state.State{c.less, whole}[i%2])
			}
		})
	}
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			policy.Compile(whole)
		}
	})
}
