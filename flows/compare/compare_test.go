package compare_test

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/compare"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
	"github.com/sluice-cni/sluice/test/golden"
)

// TestGolden compares the two documents (each a state.State, the second only
// the nodes, pods or facts that are other) of each testdata/NAME.yaml and holds the text against NAME.diff.
func TestGolden(t *testing.T) {
	golden.Each(t, func(t *testing.T, input, name string) {
		from, to := readStates(t, input)
		golden.Check(t, name+".diff", compare.Sides(compare.Render(from), compare.Render(to)).String())
	})
}

func readStates(t *testing.T, path string) (from, to state.State) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, second, ok := strings.Cut(string(data), "\n---\n")
	if !ok {
		t.Fatalf("%s: no second document", path)
	}
	var other state.State
	for text, into := range map[string]*state.State{first: &from, second: &other} {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	to = from
	if other.Nodes != nil {
		to.Nodes = other.Nodes
	}
	if other.Pods != nil {
		to.Pods = other.Pods
	}
	if other.Facts.TunnelAddress.IsValid() {
		to.Facts = other.Facts
	}
	for _, s := range []*state.State{&from, &to} {
		s.Attachments = render.Attachments(*s)
	}
	return from, to
}

// base is a node n1 with a pod, and a peer.
func base() state.State {
	return state.State{
		Node: "n1",
		Nodes: []state.Node{
			{Name: "n1", Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}},
			{Name: "n2", Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.2")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")}},
		},
		Pods: []state.Pod{{Namespace: "default", Name: "a", Node: "n1", Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.2")}}},
	}
}

func side(s state.State) compare.Side {
	s.Attachments = render.Attachments(s)
	return compare.Render(s)
}

// count is a number of flows, which is the pipeline's affair.
var count = regexp.MustCompile(`\d+ flows?`)

func TestWords(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *state.State)
		want   []string // each owner's words, without the numbers of flows
	}{
		{"nothing", func(*state.State) {}, nil},
		{
			"a pod comes", func(s *state.State) {
				s.Pods = append(s.Pods, state.Pod{Namespace: "default", Name: "b", Node: "n1", Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.3")}})
			},
			[]string{"pod default/b: flows added"},
		},
		{"a pod goes", func(s *state.State) { s.Pods = nil }, []string{"pod default/a: flows removed"}},
		{
			"a pod has another address", func(s *state.State) { s.Pods[0].Addresses = []netip.Addr{netip.MustParseAddr("10.244.1.9")} },
			[]string{"pod default/a: address changes from 10.244.1.2 on port 258 to 10.244.1.9 on port 265; flows added, flows removed"},
		},
		{
			"a node has another address", func(s *state.State) { s.Nodes[1].Addresses = []netip.Addr{netip.MustParseAddr("10.9.0.7")} },
			[]string{"node n2: route changes from 10.244.2.0/24 by 10.9.0.2 to 10.244.2.0/24 by 10.9.0.7; flows added, flows removed, flows changed"},
		},
		{
			"a node has another podCIDR", func(s *state.State) { s.Nodes[1].PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.7.0/24")} },
			[]string{"node n2: route changes from 10.244.2.0/24 by 10.9.0.2 to 10.244.7.0/24 by 10.9.0.2; flows added, flows removed"},
		},
		{
			"a node has a second podCIDR, of the other family", func(s *state.State) {
				s.Nodes[1].PodCIDRs = append(s.Nodes[1].PodCIDRs, netip.MustParsePrefix("fd00:2::/64"))
			},
			[]string{"node n2: route fd00:2::/64 by 10.9.0.2 is added; flows added"},
		},
		{
			"a node has no address any more", func(s *state.State) { s.Nodes[1].Addresses = nil },
			[]string{"node n2: route changes from 10.244.2.0/24 by 10.9.0.2 to 10.244.2.0/24 by nobody; flows removed, flows changed"},
		},
		{
			"a replacement has the podCIDR", func(s *state.State) {
				s.Nodes = append(s.Nodes, state.Node{
					Name: "n3", Ready: true, Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.3")}, PodCIDRs: s.Nodes[1].PodCIDRs,
				})
			},
			[]string{"node n2: flows removed", "node n3: flows added"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := base()
			c.change(&to)
			var got []string
			for _, o := range compare.Sides(side(base()), side(to)).Owners {
				got = append(got, count.ReplaceAllString(o.Words(), "flows"))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("words\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestFlowsAreCounted(t *testing.T) {
	owner := flows.Owner{Kind: flows.OwnerPod, Name: "default/a"}
	tables := func(priority uint16, ports ...uint32) compare.Side {
		o := &render.Owned{Owner: owner}
		for _, p := range ports {
			o.Flows = append(o.Flows, flows.Flow{Priority: priority, Cookie: owner.Cookie(flows.RuleEnter), Match: flows.Match{}.InPort(p)})
		}
		return compare.Side{Tables: render.Result{Set: []*render.Owned{o}}}
	}
	changed := tables(1, 1, 2, 3)
	changed.Tables.Set[0].Flows[0].Actions = []flows.Action{flows.DecTTL{}}
	for _, c := range []struct {
		from, to compare.Side
		want     string
	}{
		{tables(1), tables(1, 1, 2, 3), "pod default/a: 3 flows added"},
		{tables(1, 1), tables(1), "pod default/a: 1 flow removed"},
		{tables(1, 1, 2), changed, "pod default/a: 1 flow added, 1 flow changed"},
		{tables(1, 1, 2), tables(2, 2), "pod default/a: 1 flow added, 2 flows removed"},
	} {
		d := compare.Sides(c.from, c.to)
		if len(d.Owners) != 1 || d.Owners[0].Words() != c.want {
			t.Errorf("%+v, want %q", d.Owners, c.want)
		}
	}
}

func TestANodeThatThereIsNotHasNothing(t *testing.T) {
	s := side(base())
	d := compare.Sides(compare.Side{}, s)
	n := 0
	for _, o := range d.Owners {
		n += len(o.Added)
		if len(o.Removed)+len(o.Changed)+len(o.Facts) > 0 {
			t.Errorf("%+v", o)
		}
	}
	if n != len(s.Tables.Flows()) || len(d.Host.Added) == 0 || len(d.Host.Removed) > 0 {
		t.Errorf("%d of %d flows, host %v", n, len(s.Tables.Flows()), d.Host)
	}
}

func TestGroupsAreCompared(t *testing.T) {
	group := func(id uint32, weight uint16) flows.Group {
		return flows.Group{ID: id, Method: "dp_hash", Buckets: []flows.Bucket{{ID: 1, Weight: weight}}}
	}
	from := compare.Side{Tables: render.Result{Set: []*render.Owned{{Groups: []flows.Group{group(1, 100), group(2, 100)}}}}}
	to := compare.Side{Tables: render.Result{Set: []*render.Owned{{Groups: []flows.Group{group(1, 100), group(2, 200)}}}}}
	want := "# groups: 1 group added, 1 group removed\n-" + group(2, 100).String() + "\n+" + group(2, 200).String() + "\n"
	if got := compare.Sides(from, to).String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAConflictThatComesIsADifference(t *testing.T) {
	to := base()
	to.Nodes = append(to.Nodes, state.Node{Name: "n3", PodCIDRs: to.Nodes[1].PodCIDRs}) // n2 keeps it, by name
	d := compare.Sides(side(base()), side(to))
	if got, want := d.String(), "# conflict: podCIDR 10.244.2.0/24: node n3 loses it to node n2\n"; got != want || d.Empty() {
		t.Errorf("got %q, empty %v", got, d.Empty())
	}
	back := compare.Sides(side(to), side(base()))
	if got, want := back.String(), "# no conflict any more: podCIDR 10.244.2.0/24: node n3 loses it to node n2\n"; got != want {
		t.Errorf("got %q", got)
	}
}

// TestADifferenceAppliedIsTheOtherSide: the flows of one side without what is removed and
// with what is added are those of the other, and each stands with its owner.
func TestADifferenceAppliedIsTheOtherSide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := side(statetest.Draw(t)), side(statetest.Draw(t))
		have := map[string]bool{}
		for _, f := range from.Tables.Flows() {
			have[f.String()] = true
		}
		remove := func(o compare.Owner, f flows.Flow) {
			if !have[f.String()] || from.Tables.Owners()[f.Cookie.Owner()] != o.Owner {
				t.Fatalf("%s loses what is not its own: %s", o, f)
			}
			delete(have, f.String())
		}
		d := compare.Sides(from, to)
		for _, o := range d.Owners {
			for _, f := range o.Removed {
				remove(o, f)
			}
			for _, c := range o.Changed {
				remove(o, c.From)
			}
		}
		for _, o := range d.Owners {
			for _, c := range o.Changed {
				have[c.To.String()] = true
			}
			for _, f := range o.Added {
				have[f.String()] = true
			}
		}
		for _, f := range to.Tables.Flows() {
			if !have[f.String()] {
				t.Fatalf("not there afterwards: %s", f)
			}
		}
		if len(have) != len(to.Tables.Flows()) {
			t.Fatalf("%d flows afterwards, not %d", len(have), len(to.Tables.Flows()))
		}
		if !compare.Sides(to, to).Empty() {
			t.Fatal("a side differs from itself")
		}
	})
}
