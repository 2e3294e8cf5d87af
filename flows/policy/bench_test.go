package policy_test

import (
	"fmt"
	"testing"

	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
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

// BenchmarkChange is what one change costs in a cluster of 10,000 pods with 10,000 rules: a pod that
// comes or goes, here or elsewhere, and a policy.
func BenchmarkChange(b *testing.B) {
	whole := statetest.Ruled(10000, 10000)
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
