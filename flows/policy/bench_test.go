package policy_test

import (
	"fmt"
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
