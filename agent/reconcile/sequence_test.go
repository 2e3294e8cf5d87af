package reconcile_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
)

// TestWhateverHappensTheTablesAreThoseOfAFreshStart: states follow each other in any
// order, twice or not at all; in between the agent or the switch starts again, and others
// change flows. After each pass the switch holds what an agent that has just started
// would put into an empty one, in which each podCIDR and each address leads to one place.
func TestWhateverHappensTheTablesAreThoseOfAFreshStart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sw := newFake()
		var renderer render.Renderer
		r, next := replaceable(sw)
		states := rapid.SliceOfN(rapid.Custom(statetest.Draw), 1, 4).Draw(t, "states")
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			look := reconcile.Trust
			switch rapid.SampledFrom([]string{"nothing", "agent", "switch", "drift"}).Draw(t, "before") {
			case "agent":
				renderer = render.Renderer{}
				r, next = replaceable(sw)
			case "switch":
				close(sw.lost)
				sw = newFake()
				*next = sw
			case "drift":
				for _, f := range render.Tables(rapid.SampledFrom(states).Draw(t, "foreign")).Flows() {
					sw.flows[f.Key()] = f
				}
				look = reconcile.LookAtAll
			}
			s := rapid.SampledFrom(states).Draw(t, "state")
			if err := r.Apply(context.Background(), renderer.Render(s).Set, look); err != nil {
				t.Fatal(err)
			}
			fresh := newFake()
			if err := reconciler(fresh).Apply(context.Background(), render.Tables(s).Set, reconcile.Trust); err != nil {
				t.Fatal(err)
			}
			if !maps.EqualFunc(sw.flows, fresh.flows, flows.Flow.Equal) || !maps.EqualFunc(sw.groups, fresh.groups, flows.Group.Equal) {
				t.Fatalf("holds\n%v\na fresh start\n%v", slices.SortedFunc(maps.Values(sw.flows), flows.Compare), slices.SortedFunc(maps.Values(fresh.flows), flows.Compare))
			}
			oneLeads(t, s, sw)
		}
	})
}

// oneLeads: of several Nodes with one podCIDR, of several attachments with one address,
// exactly one is led to: there is one flow for it, and it is the same on every node that
// knows the same objects.
func oneLeads(t *rapid.T, s state.State, sw *fakeSwitch) {
	lead := map[string]flows.Flow{}
	for _, f := range sw.flows {
		if rule := f.Cookie.Rule(); rule != flows.RuleRoute && rule != flows.RuleDeliver {
			continue
		}
		to := f.Match.String()
		if other, twice := lead[to]; twice {
			t.Fatalf("two lead to %s:\n%s\n%s", to, other, f)
		}
		lead[to] = f
	}
	for _, n := range s.Nodes {
		elsewhere := s
		elsewhere.Node, elsewhere.Attachments = n.Name, nil
		for _, f := range render.Tables(elsewhere).Flows() {
			here, ok := lead[f.Match.String()]
			if ok && f.Cookie.Rule() == flows.RuleRoute && here.Cookie.Rule() == flows.RuleRoute && here.Cookie.Owner() != f.Cookie.Owner() {
				t.Fatalf("node %s is led to another:\n%s\n%s", n.Name, here, f)
			}
		}
	}
}
