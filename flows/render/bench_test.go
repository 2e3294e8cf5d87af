package render_test

import (
	"slices"
	"testing"

	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
)

// BenchmarkChange is what one change costs to render in a cluster of 10,000 pods with 10,000 rules.
func BenchmarkChange(b *testing.B) {
	whole := statetest.Ruled(10000, 10000)
	whole.Facts.TunnelAddress = whole.Nodes[0].Addresses[0]
	relabelled := whole
	relabelled.Pods = slices.Clone(whole.Pods)
	relabelled.Pods[5000].Labels = map[string]string{"app": "app1", "hash": "other"}
	podHere, podThere, aPolicy, another := whole, whole, whole, whole
	podHere.Attachments = whole.Attachments[:len(whole.Attachments)-1]
	podThere.Pods = slices.Delete(slices.Clone(whole.Pods), 5000, 5001)
	aPolicy.NetworkPolicies = slices.Clone(whole.NetworkPolicies[1:])
	another.NetworkPolicies = slices.Clone(whole.NetworkPolicies)
	another.NetworkPolicies[1].Ingress = []state.PolicyRule{{}}
	for _, c := range []struct {
		name  string
		other state.State
	}{
		{"a pod here", podHere}, {"a pod elsewhere", podThere}, {"a relabelled pod", relabelled},
		{"a policy", aPolicy}, {"another policy", another},
	} {
		b.Run(c.name, func(b *testing.B) {
			var r render.Renderer
			b.ReportMetric(float64(r.Render(whole).Len()), "flows")
			for i := 0; b.Loop(); i++ {
				r.Render([]state.State{c.other, whole}[i%2])
			}
		})
	}
}
