package render_test

import (
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
	"github.com/sluice-cni/sluice/test/golden"
)

// TestGolden renders each testdata/NAME.yaml (a state.State) and holds the flows
// against NAME.flows (ovs-ofctl's text) and the host's side against NAME.host.
func TestGolden(t *testing.T) {
	golden.Each(t, func(t *testing.T, input, name string) {
		s := readState(t, input)
		r := render.Tables(s)
		var b strings.Builder
		for _, c := range r.Conflicts {
			b.WriteString("# conflict: " + c.String() + "\n")
		}
		for _, p := range render.Problems(s) {
			b.WriteString("# problem: " + p + "\n")
		}
		owners := r.Owners()
		for _, g := range r.Groups() {
			b.WriteString(g.String() + "\n")
		}
		for _, f := range r.Flows() {
			b.WriteString("# " + owners[f.Cookie.Owner()].String() + ": " + f.Cookie.Rule().String() + "\n" + f.String() + "\n")
		}
		golden.Check(t, name+".flows", b.String())
		golden.Check(t, name+".host", render.HostSide(s).String())
	})
}

func readState(t *testing.T, path string) state.State {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var s state.State
	if err := yaml.UnmarshalStrict(data, &s); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if s.Attachments == nil {
		s.Attachments = render.Attachments(s)
	}
	return s
}

func TestTheOrderOfTheInputDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := statetest.Draw(t)
		other := s
		other.Nodes = rapid.Permutation(s.Nodes).Draw(t, "nodes")
		other.Attachments = rapid.Permutation(s.Attachments).Draw(t, "attachments")
		other.Services = rapid.Permutation(s.Services).Draw(t, "services")
		other.EndpointSlices = rapid.Permutation(s.EndpointSlices).Draw(t, "endpointSlices")
		a, b := render.Tables(s), render.Tables(other)
		if !slices.EqualFunc(a.Flows(), b.Flows(), flows.Flow.Equal) || !slices.EqualFunc(a.Groups(), b.Groups(), flows.Group.Equal) {
			t.Fatalf("flows differ:\n%v\n%v", a.Flows(), b.Flows())
		}
		if x, y := render.HostSide(s).String(), render.HostSide(other).String(); x != y {
			t.Fatalf("the host's side differs:\n%s\n%s", x, y)
		}
	})
}

// TestWhatIsRenderedAnewEqualsTheWhole: a Renderer gives for each of a sequence of
// states what Tables gives, and the same *Owned for what is alike in two that follow.
func TestWhatIsRenderedAnewEqualsTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r render.Renderer
		last := map[flows.Owner]*render.Owned{}
		for range rapid.IntRange(2, 6).Draw(t, "states") {
			s := statetest.Draw(t)
			got, want := r.Render(s), render.Tables(s)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("after others:\n%v\nalone:\n%v", got.Flows(), want.Flows())
			}
			next := map[flows.Owner]*render.Owned{}
			for _, o := range got.Set {
				next[o.Owner] = o
				if before := last[o.Owner]; before != o && reflect.DeepEqual(before, o) {
					t.Fatalf("%s is made anew though it is alike", o.Owner)
				}
			}
			last = next
		}
	})
}

// TestAnyStateRendersWhole: whatever the claims, a table holds one flow of a key,
// every table ends in a drop or on purpose goes on, and every flow leads to its owner.
func TestAnyStateRendersWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := render.Tables(statetest.Draw(t))
		keys := map[flows.Key]flows.Flow{}
		owners := r.Owners()
		for _, f := range r.Flows() {
			if other, ok := keys[f.Key()]; ok {
				t.Fatalf("two flows of one key:\n%s\n%s", f, other)
			}
			keys[f.Key()] = f
			if owners[f.Cookie.Owner()] == (flows.Owner{}) {
				t.Fatalf("nobody owns %s", f)
			}
			if strings.Contains(f.String(), "NORMAL") || strings.Contains(f.String(), "FLOOD") {
				t.Fatalf("learns or floods: %s", f)
			}
		}
		groups := map[uint32]flows.Group{}
		for _, g := range r.Groups() {
			if other, ok := groups[g.ID]; ok {
				t.Fatalf("two groups of one number:\n%s\n%s", g, other)
			}
			groups[g.ID] = g
		}
		for _, f := range r.Flows() {
			for _, a := range f.Actions {
				if to, ok := a.(flows.ToGroup); ok && len(groups[to.Group].Buckets) == 0 {
					t.Fatalf("to a group that there is not, or an empty one: %s", f)
				}
			}
		}
		for _, tab := range flows.Pipeline {
			miss, ok := keys[flows.Key{Table: tab.ID}]
			goesOn := tab.ID >= flows.EgressAdmin && tab.ID <= flows.Commit || tab.ID == flows.Service || tab.ID == flows.Addresses || tab.ID == flows.Identities
			if ok != tab.Built || (len(miss.Actions) != 0) != goesOn {
				t.Fatalf("table %s: miss flow %v: %s", tab.Name, ok, miss)
			}
		}
	})
}

func TestPortNumbersAreReadable(t *testing.T) {
	cidrs := []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64"), netip.MustParsePrefix("10.96.0.0/12")}
	for addr, want := range map[string]uint32{
		"10.244.1.2":    258,
		"10.244.1.254":  510,
		"fd00:1::2":     258,
		"10.96.127.255": 256 + 32767,
	} {
		if got := render.OFPort(netip.MustParseAddr(addr), cidrs); got != want {
			t.Errorf("%s: port %d, want %d", addr, got, want)
		}
	}
	for _, outside := range []string{"192.168.7.7", "10.96.128.0", "fd00:1::1:0:0:1", "fd00:2::2"} {
		if got := render.OFPort(netip.MustParseAddr(outside), cidrs); got < 33024 || got > 65279 {
			t.Errorf("%s: port %d, want one of the hashed", outside, got)
		}
	}
}

func TestMACsAndGatewaysAreReadable(t *testing.T) {
	for addr, want := range map[string]string{"10.244.3.17": "0a:58:0a:f4:03:11", "fd00::ab:cdef": "0a:58:00:ab:cd:ef", "169.254.0.1": "0a:58:a9:fe:00:01"} {
		if got := render.MAC(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s has MAC %s, want %s", addr, got, want)
		}
	}
	for cidr, want := range map[string]string{"10.244.1.0/24": "10.244.1.1", "10.1.0.9/16": "10.1.0.1", "fd00:3::/64": "fd00:3::1"} {
		if got := render.Gateway(netip.MustParsePrefix(cidr)).String(); got != want {
			t.Errorf("%s has gateway %s, want %s", cidr, got, want)
		}
	}
}
