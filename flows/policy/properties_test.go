package policy_test

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
)

// TestTheOrderOfObjectsDoesNotMatter: numbers included, also where hashes collide.
func TestTheOrderOfObjectsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := statetest.DrawPolicies(t)
		other := s
		other.Namespaces = rapid.Permutation(s.Namespaces).Draw(t, "namespaces")
		other.Pods = rapid.Permutation(s.Pods).Draw(t, "pods")
		other.NetworkPolicies = rapid.Permutation(s.NetworkPolicies).Draw(t, "policies")
		other.Attachments = rapid.Permutation(s.Attachments).Draw(t, "attachments")
		for _, hash := range []flows.Hash{fourBits, func(string) uint32 { return 7 }} {
			same(t, policy.CompileWith(s, hash), policy.CompileWith(other, hash))
		}
		same(t, policy.Compile(s), policy.Compile(other))
	})
}

func same(t rapid.TB, a, b policy.Result) {
	t.Helper()
	if !slices.EqualFunc(a.Flows(), b.Flows(), flows.Flow.Equal) {
		for _, f := range differing(a, b) {
			t.Log(f)
		}
		t.Fatal("not the same flows")
	}
	if !reflect.DeepEqual(a.Faulty, b.Faulty) || !slices.Equal(a.Crowds, b.Crowds) {
		t.Fatalf("faulty %v\nand %v\ncrowds %v\nand %v", a.Faulty, b.Faulty, a.Crowds, b.Crowds)
	}
}

// TestNoTwoFlowsHaveOneKey: a switch would keep one of them.
func TestNoTwoFlowsHaveOneKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen := map[flows.Key]bool{}
		for _, f := range policy.CompileWith(statetest.DrawPolicies(t), fourBits).Flows() {
			if seen[f.Key()] {
				t.Fatalf("twice: %v", f)
			}
			seen[f.Key()] = true
		}
	})
}

// cluster is a namespace a with pods here, p0, p1 and so on, of app p0, p1, ….
func cluster(pods int) state.State {
	s := state.State{Node: "n1", Namespaces: []state.Namespace{{Name: "a", Labels: map[string]string{state.NamespaceNameLabel: "a"}}}}
	for i := range pods {
		name := fmt.Sprintf("p%d", i)
		address := []netip.Addr{netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)})}
		s.Pods = append(s.Pods, state.Pod{Namespace: "a", Name: name, Labels: map[string]string{"app": name}, Addresses: address})
		s.Attachments = append(s.Attachments, state.Attachment{ContainerID: name, PodNamespace: "a", PodName: name, OFPort: uint32(256 + i), Addresses: address})
	}
	return s
}

func app(name string) *state.Selector {
	return &state.Selector{Labels: map[string]string{"app": name}}
}

// owned are all owners with their flows.
func owned(r policy.Result) []flows.Owned {
	out := slices.Clone(r.Owned)
	for _, o := range slices.Concat(r.Policies, r.Identities) {
		out = append(out, *o)
	}
	return out
}

func count(r policy.Result, t flows.TableID) int {
	n := 0
	for _, f := range r.Flows() {
		if f.Table == t {
			n++
		}
	}
	return n
}

func TestWhatNoPolicySelectsCostsNothing(t *testing.T) {
	s := cluster(20)
	none := len(policy.Compile(s).Flows())
	s.NetworkPolicies = []state.NetworkPolicy{{Namespace: "elsewhere", Name: "p"}}
	if n := len(policy.Compile(s).Flows()); n != none {
		t.Errorf("%d flows for a policy that selects nothing here", n-none)
	}
	s.NetworkPolicies = []state.NetworkPolicy{{Namespace: "a", Name: "p", Selects: *app("p3")}}
	for _, o := range owned(policy.Compile(s)) {
		if o.Owner.Kind == flows.OwnerPod && o.Owner.Name != "a/p3" || o.Owner.Kind == flows.OwnerIdentity {
			t.Errorf("%v has %d flows", o.Owner, len(o.Flows))
		}
	}
}

// TestANewlyMentionedKeyChangesIdentitiesOnly, of what is there for addresses.
func TestANewlyMentionedKeyChangesIdentitiesOnly(t *testing.T) {
	s := cluster(10)
	s.NetworkPolicies = []state.NetworkPolicy{{Namespace: "a", Name: "p", Ingress: []state.PolicyRule{{Peers: []state.PolicyPeer{{Namespaces: &state.Selector{}}}}}}}
	before := addresses(policy.Compile(s))
	s.NetworkPolicies = append(s.NetworkPolicies, state.NetworkPolicy{Namespace: "a", Name: "q", Ingress: []state.PolicyRule{{Peers: []state.PolicyPeer{{Pods: app("p1")}}}}})
	if after := addresses(policy.Compile(s)); len(before) != 10 || !maps.Equal(before, after) {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

func addresses(r policy.Result) map[string]string {
	out := map[string]string{}
	for _, f := range r.Flows() {
		if f.Table == flows.Addresses && f.Cookie.Kind() == flows.OwnerIdentity {
			out[f.Match.String()] = f.String()
		}
	}
	return out
}

// TestAPolicyWithManyPeersAndPorts is the sum of both, not the product.
func TestAPolicyWithManyPeersAndPorts(t *testing.T) {
	s := cluster(300)
	var r state.PolicyRule
	for i := range 300 {
		r.Peers = append(r.Peers, state.PolicyPeer{Pods: app(fmt.Sprintf("p%d", i))})
	}
	for i := range 100 {
		r.Ports = append(r.Ports, state.PolicyPort{Number: uint16(1000 + 2*i)})
	}
	s.NetworkPolicies = []state.NetworkPolicy{{Namespace: "a", Name: "p", Selects: *app("p0"), Ingress: []state.PolicyRule{r}}}
	// One flow for each peer, three for each port, one for both, and the table's last.
	if n := count(policy.Compile(s), flows.Policies); n != 300+3*100+1+1 {
		t.Errorf("%d flows", n)
	}
}

// TestAPolicyMoreIsItsBlockAndOneFlowOfEachPodThatItSelects, in each of its directions, of pods that
// policies select already; one policy less, too.
func TestAPolicyMoreIsItsBlockAndOneFlowOfEachPodThatItSelects(t *testing.T) {
	s := cluster(50)
	rule := []state.PolicyRule{{Peers: []state.PolicyPeer{{Pods: app("p1")}}}}
	both := []state.Direction{state.Ingress, state.Egress}
	for i := range 20 {
		s.NetworkPolicies = append(s.NetworkPolicies, state.NetworkPolicy{
			Namespace: "a", Name: fmt.Sprintf("n%d", i), Selects: *app(fmt.Sprintf("p%d", i)), Types: both, Ingress: rule, Egress: rule,
		})
	}
	for _, types := range [][]state.Direction{both, both[:1], both[1:]} {
		more := s
		more.NetworkPolicies = append(slices.Clone(s.NetworkPolicies), state.NetworkPolicy{
			Namespace: "a", Name: "more", Types: types, Ingress: rule, Egress: rule,
			Selects: state.Selector{Requirements: []state.Requirement{{Key: "app", Operator: state.In, Values: []string{"p5", "p6", "p7"}}}},
		})
		for _, step := range [][2]state.State{{s, more}, {more, s}} {
			of := map[string]int{}
			for _, f := range differing(policy.Compile(step[0]), policy.Compile(step[1])) {
				switch {
				case f.Table == flows.Policies && f.Cookie.Owner() == flows.Owner{Kind: flows.OwnerPolicy, Name: "a/more"}.Cookie(0):
				case f.Table == flows.Calls && f.Cookie.Kind() == flows.OwnerPod:
					of[f.Match.String()]++
				default:
					t.Errorf("%v: changed: %v", types, f)
				}
			}
			if len(of) != 3*len(types) {
				t.Errorf("%v: changed of three pods: %v", types, of)
			}
		}
	}
}

// TestAPodsFirstPolicyBringsItsDispatch.
func TestAPodsFirstPolicyBringsItsDispatch(t *testing.T) {
	for direction, want := range map[state.Direction]int{state.Egress: 14, state.Ingress: 16} {
		s := cluster(5)
		none := policy.Compile(s)
		s.NetworkPolicies = []state.NetworkPolicy{{Namespace: "a", Name: "p", Selects: *app("p3"), Types: []state.Direction{direction}}}
		if changed := differing(none, policy.Compile(s)); len(changed) != want {
			t.Errorf("%s: %d flows", direction, len(changed))
		}
	}
}

// differing are the flows of b that are not the same in a, and those of a that b lacks.
func differing(a, b policy.Result) []flows.Flow {
	old := map[flows.Key]flows.Flow{}
	for _, f := range a.Flows() {
		old[f.Key()] = f
	}
	var out []flows.Flow
	for _, f := range b.Flows() {
		if was, ok := old[f.Key()]; !ok || !was.Equal(f) {
			out = append(out, f)
		}
		delete(old, f.Key())
	}
	return slices.AppendSeq(out, maps.Values(old))
}

func TestAPodWithTooManyPoliciesIsIsolatedAndNamed(t *testing.T) {
	s := cluster(2)
	for i := range policy.MaxPolicies + 1 {
		s.NetworkPolicies = append(s.NetworkPolicies, state.NetworkPolicy{Namespace: "a", Name: fmt.Sprintf("n%d", i), Selects: *app("p0"), Ingress: []state.PolicyRule{{}}})
	}
	r := policy.Compile(s)
	if want := []policy.Crowd{{Namespace: "a", Name: "p0", Direction: state.Ingress, Policies: policy.MaxPolicies + 1}}; !slices.Equal(r.Crowds, want) {
		t.Errorf("crowds %v", r.Crowds)
	}
	said := 0
	for _, f := range r.Flows() {
		if f.Cookie.Rule() == flows.RuleCrowd && f.Table == flows.Calls {
			said++
		}
		for _, a := range f.Actions {
			if a == (flows.Resubmit{Table: flows.Policies}) {
				t.Fatalf("it asks policies: %v", f.Match)
			}
		}
	}
	if said != 1 {
		t.Errorf("%d flows say so", said)
	}
	s.NetworkPolicies = s.NetworkPolicies[1:]
	if r := policy.Compile(s); len(r.Crowds) != 0 {
		t.Errorf("crowds %v", r.Crowds)
	}
}
