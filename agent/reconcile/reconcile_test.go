package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

func TestNothingIsDoneWhereNothingDiffers(t *testing.T) {
	sw := newFake()
	a := withGroups(owned("a", flow(0, 1)), group(1, 1))
	sw.flows[a.Flows[0].Key()], sw.groups[1] = a.Flows[0], a.Groups[0]
	r := reconciler(sw)
	for range 3 {
		apply(t, r, reconcile.LookAtAll, a)
	}
	if sw.applied != 0 || r.Repaired() != 0 {
		t.Errorf("%d bundles, %d repairs", sw.applied, r.Repaired())
	}
	apply(t, r, reconcile.Trust, a)
	if sw.dumped != 3 {
		t.Errorf("%d dumps, want the 3 that were asked for", sw.dumped)
	}
}

func TestOnlyTheOwnerThatChangedIsTouched(t *testing.T) {
	sw := newFake()
	r := reconciler(sw)
	a, b := owned("a", flow(0, 1), flow(0, 2)), owned("b", flow(0, 3))
	apply(t, r, reconcile.Trust, a, b)
	sw.refuse = func(f flows.Flow) error { return errors.New("touched: " + f.String()) }
	other := owned("b")
	apply(t, r, reconcile.Trust, a, other)
	if !sw.holds(a) || len(r.Refused()) > 0 {
		t.Errorf("holds %v, refused %v", sw.flows, r.Refused())
	}
}

func TestWhatOthersDidIsPutRightAndCounted(t *testing.T) {
	a := withGroups(owned("a", flow(0, 1), flow(0, 2, flows.DecTTL{})), group(1, 1))
	one := a.Flows[0].Key()
	for _, c := range []struct {
		name string
		harm func(*fakeSwitch)
		n    uint64
	}{
		{"a flow deleted", func(s *fakeSwitch) { delete(s.flows, one) }, 1},
		{"all flows deleted", func(s *fakeSwitch) { clear(s.flows) }, 2},
		{"a flow's actions changed", func(s *fakeSwitch) { s.flows[one] = flow(0, 1, flows.OutputTo{Port: 9}) }, 1},
		{"a flow's cookie changed", func(s *fakeSwitch) { s.flows[one] = flow(0, 1) }, 1},
		{"a foreign flow", func(s *fakeSwitch) { s.flows[flow(3, 3).Key()] = flow(3, 3) }, 1},
		{"a flow in words that nobody knows", func(s *fakeSwitch) { s.strange = append(s.strange, openflow.Entry{Strange: "learn(...)"}) }, 1},
		{"a group deleted", func(s *fakeSwitch) { clear(s.groups) }, 1},
		{"a group's bucket changed", func(s *fakeSwitch) { s.groups[1] = group(1, 7) }, 1},
		{"a foreign group", func(s *fakeSwitch) { s.groups[9] = group(9, 1) }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			sw := newFake()
			r := reconciler(sw)
			apply(t, r, reconcile.Trust, a)
			c.harm(sw)
			apply(t, r, reconcile.LookAtAll, a)
			if !sw.holds(a) || len(sw.strange) != 0 {
				t.Errorf("left: %v, %v, %v", sw.flows, sw.groups, sw.strange)
			}
			if r.Repaired() != c.n {
				t.Errorf("counted %d repairs, want %d", r.Repaired(), c.n)
			}
		})
	}
}

func TestWhatTheSwitchLearnedIsNoDrift(t *testing.T) {
	sw := newFake()
	r := reconciler(sw)
	a := owned("a", flow(0, 1))
	apply(t, r, reconcile.Trust, a)
	learned := flow(uint32(flows.Affinity), 5)
	learned.Cookie = flows.Owner{Kind: flows.OwnerLearned, Name: "10.0.0.1:80"}.Cookie(0)
	sw.flows[learned.Key()] = learned
	apply(t, r, reconcile.LookAtAll, a)
	if _, ok := sw.flows[learned.Key()]; !ok || r.Repaired() != 0 {
		t.Errorf("left: %v, repaired %d", sw.flows, r.Repaired())
	}
}

func TestWhatOthersDoIsNoticed(t *testing.T) {
	learned := flows.Flow{Table: flows.Affinity, Cookie: flows.Owner{Kind: flows.OwnerLearned}.Cookie(0)}
	for _, c := range []struct {
		event   openflow.FlowEvent
		noticed bool
	}{
		{openflow.FlowEvent{Kind: openflow.FlowsOwn}, false},
		{openflow.FlowEvent{Kind: openflow.FlowAdded, Flow: learned}, false},
		{openflow.FlowEvent{Kind: openflow.FlowRemoved, Flow: learned}, false},
		{openflow.FlowEvent{Kind: openflow.FlowAdded, Flow: flow(0, 1)}, true},
		{openflow.FlowEvent{Kind: openflow.FlowRemoved, Flow: flow(0, 1)}, true},
		{openflow.FlowEvent{Kind: openflow.FlowModified, Flow: flow(0, 1)}, true},
		{openflow.FlowEvent{Kind: openflow.FlowAdded, Strange: "learn(...)"}, true},
		{openflow.FlowEvent{Kind: openflow.FlowsResync}, true},
	} {
		sw := newFake()
		sw.events = make(chan openflow.FlowEvent)
		r := reconciler(sw)
		apply(t, r, reconcile.Trust)
		sw.events <- c.event
		close(sw.events)
		if c.noticed {
			<-r.Drifted()
			continue
		}
		select {
		case <-r.Drifted():
			t.Errorf("%v was taken for drift", c.event)
		default:
		}
	}
}

func TestASwitchThatCannotBeWatchedIsLetGo(t *testing.T) {
	first, second := newFake(), newFake()
	first.unwatchable = errors.New("no answer")
	second.events = make(chan openflow.FlowEvent)
	r := reconciler(first, second)
	a := owned("a", flow(0, 1))
	if err := r.Apply(t.Context(), []*render.Owned{a}, reconcile.Trust); !errors.Is(err, first.unwatchable) || r.Connected() || !first.closed {
		t.Fatalf("got %v, connected %v, closed %v", err, r.Connected(), first.closed)
	}
	apply(t, r, reconcile.Trust, a)
	second.events <- openflow.FlowEvent{Kind: openflow.FlowAdded, Flow: flow(0, 2)}
	close(second.events)
	<-r.Drifted()
	if !second.holds(a) || r.Connection() != 1 {
		t.Errorf("holds %v, connection %d", second.flows, r.Connection())
	}
}

// TestFlowsAreLookedAtInParts: whoever's they are, with what cookie.
func TestFlowsAreLookedAtInParts(t *testing.T) {
	a, b := owned("a", flow(0, 1)), owned("b", flow(0, 2))
	for name, harm := range map[string]func(*fakeSwitch){
		"a flow is gone":     func(sw *fakeSwitch) { clear(sw.flows); sw.flows[a.Flows[0].Key()] = a.Flows[0] },
		"a foreign flow":     func(sw *fakeSwitch) { f := flow(3, 7); f.Cookie = 0xabcdef; sw.flows[f.Key()] = f },
		"one without cookie": func(sw *fakeSwitch) { f := flow(3, 7); sw.flows[f.Key()] = f },
		"one that cannot be said": func(sw *fakeSwitch) {
			sw.strange = append(sw.strange, openflow.Entry{Strange: "odd", Flow: flows.Flow{Cookie: 5 << 16}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			sw := newFake()
			r := reconciler(sw)
			apply(t, r, reconcile.Trust, a, b)
			dumps := sw.dumped
			for range reconcile.Parts {
				apply(t, r, reconcile.LookAtPart, a, b)
			}
			if sw.dumped != dumps || r.Repaired() != 0 {
				t.Fatalf("%d whole dumps, %d repairs where nothing differs", sw.dumped-dumps, r.Repaired())
			}
			harm(sw)
			for range reconcile.Parts {
				apply(t, r, reconcile.LookAtPart, a, b)
			}
			if !sw.holds(a, b) || len(sw.flows) != 2 || len(sw.strange) > 0 || r.Repaired() != 1 {
				t.Errorf("left %v, %v, %d repairs", sw.flows, sw.strange, r.Repaired())
			}
		})
	}
}

func TestGroupsAreLookedAtByThemselves(t *testing.T) {
	sw := newFake()
	r := reconciler(sw)
	a := withGroups(owned("a", flow(0, 1)), group(1, 1))
	apply(t, r, reconcile.Trust, a)
	dumps := sw.dumped
	apply(t, r, reconcile.LookAtGroups, a)
	if sw.dumped != dumps || r.Repaired() != 0 {
		t.Errorf("%d dumps of flows, %d repairs where nothing differs", sw.dumped-dumps, r.Repaired())
	}
	sw.groups[1] = group(1, 9)
	apply(t, r, reconcile.LookAtGroups, a)
	if !sw.holds(a) || r.Repaired() != 1 {
		t.Errorf("left %v, %d repairs", sw.groups, r.Repaired())
	}
}

// TestManyGroupsAreLookedAtInParts: none is read twice before all have been, and what others do is found.
func TestManyGroupsAreLookedAtInParts(t *testing.T) {
	sw := newFake()
	r := reconciler(sw)
	var set []*render.Owned
	const n = 1000
	for i := range uint32(n) {
		set = append(set, withGroups(owned(fmt.Sprintf("%04d", i), flow(0, i)), group(i+1, 1)))
	}
	apply(t, r, reconcile.Trust, set...)
	apply(t, r, reconcile.LookAtPart, set...) // all of them, the first time
	before := sw.groupsRead
	for range reconcile.Parts {
		apply(t, r, reconcile.LookAtPart, set...)
	}
	if read := sw.groupsRead - before; read != n || r.Repaired() != 0 {
		t.Errorf("%d groups of %d were read, %d repairs where nothing differs", read, n, r.Repaired())
	}
	sw.groups[7] = group(7, 9)
	for range reconcile.Parts {
		apply(t, r, reconcile.LookAtPart, set...)
	}
	if !sw.holds(set...) || r.Repaired() != 1 {
		t.Errorf("a changed group: %d repairs", r.Repaired())
	}
	sw.groups[n+9] = group(n+9, 1)
	for range 8 * reconcile.Parts {
		apply(t, r, reconcile.LookAtPart, set...)
	}
	if !sw.holds(set...) || r.Repaired() != 2 {
		t.Errorf("a foreign group: %d repairs", r.Repaired())
	}
}

func TestALostSwitchIsOpenedAgainAndFilled(t *testing.T) {
	first, second := newFake(), newFake()
	r := reconciler(first, second)
	a := owned("a", flow(0, 1))
	apply(t, r, reconcile.Trust, a)
	close(first.lost)
	apply(t, r, reconcile.Trust, a)
	if !second.holds(a) || r.Connection() != 2 || r.Repaired() != 0 {
		t.Errorf("second switch: %v; connection %d, repaired %d", second.flows, r.Connection(), r.Repaired())
	}
	close(second.lost)
	if err := r.Apply(t.Context(), []*render.Owned{a}, reconcile.Trust); err == nil || r.Connected() {
		t.Errorf("without a switch: %v, connected %v", err, r.Connected())
	}
}

func TestAfterAFailureNothingIsPresumed(t *testing.T) {
	sw := newFake()
	r := reconciler(sw)
	apply(t, r, reconcile.Trust, owned("a", flow(0, 1)))
	sw.fail = errors.New("no answer")
	b := owned("a", flow(0, 2))
	if err := r.Apply(t.Context(), []*render.Owned{b}, reconcile.Trust); !errors.Is(err, sw.fail) {
		t.Fatalf("got %v", err)
	}
	sw.fail = nil
	dumps := sw.dumped
	apply(t, r, reconcile.Trust, b)
	if sw.dumped != dumps+1 || !sw.holds(b) {
		t.Errorf("%d dumps more, flows %v", sw.dumped-dumps, sw.flows)
	}
}

// TestAFlowMayGoFromOneOwnerToAnother, in either direction of their order, and a group.
func TestAFlowMayGoFromOneOwnerToAnother(t *testing.T) {
	for _, names := range [][2]string{{"a", "b"}, {"b", "a"}} {
		sw := newFake()
		r := reconciler(sw)
		first := withGroups(owned(names[0], flow(0, 1)), group(1, 1))
		second := withGroups(owned(names[1], flow(0, 1, flows.ToGroup{Group: 1})), group(1, 2))
		apply(t, r, reconcile.Trust, first)
		apply(t, r, reconcile.Trust, second)
		if !sw.holds(second) {
			t.Errorf("from %s to %s: %v, %v", names[0], names[1], sw.flows, sw.groups)
		}
	}
}

// TestAnySequenceEndsInTheLastDesired: whatever was desired before, whatever others
// did, whatever was refused in between, the switch holds what is desired now.
func TestAnySequenceEndsInTheLastDesired(t *testing.T) {
	names := []string{"a", "b", "c"}
	action := rapid.SampledFrom([]flows.Action{flows.DecTTL{}, flows.OutputTo{Port: 1}, flows.Goto{Table: 2}})
	set := rapid.Custom(func(t *rapid.T) []*render.Owned {
		var out []*render.Owned
		lists := map[string][]flows.Flow{}
		groups := map[string][]flows.Group{}
		for port := range uint32(6) { // each flow and group has one owner at most
			if name := rapid.SampledFrom(append(names, "")).Draw(t, "owner of flow"); name != "" {
				lists[name] = append(lists[name], flow(0, port, action.Draw(t, "action")))
			}
			if name := rapid.SampledFrom(append(names, "")).Draw(t, "owner of group"); name != "" {
				groups[name] = append(groups[name], group(port, rapid.Uint32Range(1, 2).Draw(t, "bucket")))
				lists[name] = append(lists[name], flow(1, port, flows.ToGroup{Group: port}))
			}
		}
		for _, name := range names {
			if len(lists[name])+len(groups[name]) > 0 {
				out = append(out, withGroups(owned(name, lists[name]...), groups[name]...))
			}
		}
		return out
	})
	rapid.Check(t, func(t *rapid.T) {
		sw := newFake()
		r := reconciler(sw)
		var want []*render.Owned
		for range rapid.IntRange(1, 8).Draw(t, "passes") {
			if !rapid.Bool().Draw(t, "same") {
				want = set.Draw(t, "desired")
			}
			harm := rapid.Bool().Draw(t, "harm")
			if harm {
				for _, f := range (render.Result{Set: set.Draw(t, "foreign")}).Flows() {
					sw.flows[f.Key()] = f
				}
			}
			var refused string
			if rapid.Bool().Draw(t, "refuses") {
				refused = rapid.SampledFrom(names).Draw(t, "refused")
			}
			sw.refuse = func(f flows.Flow) error {
				if f.Cookie.Owner() == (flows.Owner{Kind: flows.OwnerPod, Name: refused}).Cookie(0) {
					return &openflow.Error{Type: 5, Code: 1} // OFPFMFC_TABLE_FULL
				}
				return nil
			}
			if err := r.Apply(context.Background(), want, map[bool]reconcile.Look{true: reconcile.LookAtAll}[harm]); err != nil {
				t.Fatal(err)
			}
			others := slices.DeleteFunc(slices.Clone(want), func(o *render.Owned) bool { return o.Owner.Name == refused })
			for _, o := range others {
				for _, f := range o.Flows {
					if have, ok := sw.flows[f.Key()]; !ok || !have.Equal(f) {
						if !slices.ContainsFunc(r.Refused(), func(r refusal) bool { return r.Owner == o.Owner }) {
							t.Fatalf("lacks %s", f)
						}
					}
				}
			}
		}
		sw.refuse = func(flows.Flow) error { return nil }
		if err := r.Apply(context.Background(), want, reconcile.LookAtAll); err != nil {
			t.Fatal(err)
		}
		if !sw.holds(want...) {
			t.Fatalf("holds %v %v, want %v", sw.flows, sw.groups, render.Result{Set: want}.Flows())
		}
	})
}
