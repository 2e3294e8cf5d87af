package policy_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
)

// TestOneAfterAnotherAsAlone: whatever of a cluster comes, goes and changes, one thing after another, a
// Compiler gives what it would give if it had seen nothing before; with colliding numbers, too. A list of which
// nothing has changed is the very same.
func TestOneAfterAnotherAsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k policy.Compiler
		if rapid.Bool().Draw(t, "collisions") {
			k.Hash = fourBits
		}
		whole := statetest.DrawPolicies(t)
		s := whole
		for range rapid.IntRange(5, 30).Draw(t, "states") {
			for range rapid.IntRange(1, 2).Draw(t, "changes") {
				change(t, whole, &s)
			}
			alone := policy.Compiler{Hash: k.Hash}
			same(t, k.Compile(s), alone.Compile(s))
		}
	})
}

// change lets something of the whole go, come back or change.
func change(t *rapid.T, whole state.State, s *state.State) {
	switch rapid.IntRange(0, 6).Draw(t, "what changes") {
	case 0:
		s.Pods = toggled(t, whole.Pods, s.Pods, func(p state.Pod) string { return p.Namespace + "/" + p.Name })
	case 1:
		s.Attachments = toggled(t, whole.Attachments, s.Attachments, func(a state.Attachment) string { return a.ContainerID })
	case 2:
		s.NetworkPolicies = toggled(t, whole.NetworkPolicies, s.NetworkPolicies, func(p state.NetworkPolicy) string { return p.Namespace + "/" + p.Name })
	case 3:
		s.Namespaces = toggled(t, whole.Namespaces, s.Namespaces, func(n state.Namespace) string { return n.Name })
	case 4:
		s.Namespaces = changed(t, s.Namespaces, func(n *state.Namespace, other state.Namespace) {
			n.Labels = maps.Clone(other.Labels)
			n.Labels[state.NamespaceNameLabel] = n.Name
		})
	case 5:
		s.NetworkPolicies = changed(t, s.NetworkPolicies, func(p *state.NetworkPolicy, other state.NetworkPolicy) {
			p.Ingress, p.Egress = other.Ingress, other.Egress
			if rapid.Bool().Draw(t, "selects another") {
				p.Selects, p.Fault = other.Selects, other.Fault
			}
		})
	case 6:
		s.Pods = changed(t, s.Pods, func(p *state.Pod, other state.Pod) {
			switch rapid.IntRange(0, 3).Draw(t, "of a pod") {
			case 0:
				p.Labels = other.Labels
			case 1:
				p.Ports = other.Ports
			case 2:
				p.Addresses = other.Addresses
			default:
				p.Finished = !p.Finished
			}
		})
	}
}

// toggled is a list without one of the whole's, or with it if it lacks it.
func toggled[T any](t *rapid.T, whole, list []T, name func(T) string) []T {
	if len(whole) == 0 {
		return list
	}
	one := rapid.SampledFrom(whole).Draw(t, "one")
	is := func(other T) bool { return name(other) == name(one) }
	if slices.ContainsFunc(list, is) {
		return slices.DeleteFunc(slices.Clone(list), is)
	}
	return append(slices.Clone(list), one)
}

// changed is a list of which one has become like another in something.
func changed[T any](t *rapid.T, list []T, like func(one *T, other T)) []T {
	if len(list) == 0 {
		return list
	}
	out := slices.Clone(list)
	like(&out[rapid.IntRange(0, len(out)-1).Draw(t, "which")], rapid.SampledFrom(list).Draw(t, "like"))
	return out
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
