package policy_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
)

// TestOneAfterAnotherAsAlone: whatever of a cluster comes, goes and changes, a Compiler gives
// what it would give if it had seen nothing before; with colliding numbers, too.
func TestOneAfterAnotherAsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k policy.Compiler
		if rapid.Bool().Draw(t, "collisions") {
			k.Hash = fourBits
		}
		whole := statetest.DrawPolicies(t)
		for range rapid.IntRange(2, 8).Draw(t, "states") {
			s := whole
			s.Pods = some(t, "pods", whole.Pods)
			s.Attachments = some(t, "attachments", whole.Attachments)
			s.NetworkPolicies = some(t, "policies", whole.NetworkPolicies)
			s.Namespaces = some(t, "namespaces", whole.Namespaces)
			if len(s.Pods) > 0 && rapid.Bool().Draw(t, "relabelled") {
				i := rapid.IntRange(0, len(s.Pods)-1).Draw(t, "which")
				s.Pods[i].Labels = map[string]string{"app": rapid.SampledFrom([]string{"web", "db", "new"}).Draw(t, "label")}
			}
			changed(t, s)
			alone := policy.Compiler{Hash: k.Hash}
			same(t, k.Compile(s), alone.Compile(s))
		}
	})
}

// TestAPolicyThatNobodyCalledForAWhile is compiled for what there is when a pod calls it again.
func TestAPolicyThatNobodyCalledForAWhile(t *testing.T) {
	s := cluster(3)
	rule := []state.PolicyRule{{Peers: []state.PolicyPeer{{Pods: app("p1")}, {Pods: &state.Selector{Labels: map[string]string{"tier": "x"}}}}}}
	for _, name := range []string{"p0", "p2"} {
		s.NetworkPolicies = append(s.NetworkPolicies, state.NetworkPolicy{Namespace: "a", Name: name, Selects: *app(name), Ingress: rule})
	}
	another := s
	another.Pods = append(slices.Clone(s.Pods), state.Pod{
		Namespace: "a", Name: "more", Labels: map[string]string{"app": "p1", "tier": "x"}, Addresses: []netip.Addr{netip.MustParseAddr("10.244.2.9")},
	})
	gone := another
	gone.Attachments = s.Attachments[1:]
	var k policy.Compiler
	for _, s := range []state.State{s, gone, another} {
		same(t, k.Compile(s), policy.Compile(s))
	}
}

// changed changes some of the objects themselves, under their names.
func changed(t *rapid.T, s state.State) {
	one := func(what string, n int) (int, bool) {
		if n == 0 || !rapid.Bool().Draw(t, what+" is changed") {
			return 0, false
		}
		return rapid.IntRange(0, n-1).Draw(t, what), true
	}
	if i, ok := one("a namespace", len(s.Namespaces)); ok {
		s.Namespaces[i].Labels = map[string]string{"team": rapid.SampledFrom([]string{"red", "blue", "new"}).Draw(t, "team")}
	}
	if i, ok := one("a policy", len(s.NetworkPolicies)); ok {
		other := rapid.SampledFrom(s.NetworkPolicies).Draw(t, "like")
		s.NetworkPolicies[i].Ingress, s.NetworkPolicies[i].Egress, s.NetworkPolicies[i].Selects = other.Ingress, other.Egress, other.Selects
	}
	if i, ok := one("a pod", len(s.Pods)); ok {
		s.Pods[i].Finished = !s.Pods[i].Finished
		s.Pods[i].Addresses = rapid.SampledFrom(s.Pods).Draw(t, "of").Addresses
		s.Pods[i].Ports = rapid.SampledFrom(s.Pods).Draw(t, "with the ports of").Ports
	}
}

// some of a list, most of it; the list itself is left alone.
func some[T any](t *rapid.T, name string, all []T) []T {
	out := slices.Clone(all)
	for range rapid.IntRange(0, 2).Draw(t, name+" that lack") {
		if len(out) > 0 {
			i := rapid.IntRange(0, len(out)-1).Draw(t, name)
			out = slices.Delete(out, i, i+1)
		}
	}
	return out
}

// BenchmarkOnePodMore is BenchmarkCompile's cluster, in which one pod comes or goes.
func BenchmarkOnePodMore(b *testing.B) {
	s := ruled(b)
	less := s
	less.Attachments = slices.Clone(s.Attachments[:len(s.Attachments)-1])
	var k policy.Compiler
	k.Compile(s)
	for i := 0; b.Loop(); i++ {
		k.Compile([]state.State{s, less}[i%2])
	}
}
