package reconcile_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// fakeSwitch holds flows as a switch does: one of a key, changes whole or not at all.
type fakeSwitch struct {
	flows   map[flows.Key]flows.Flow
	strange []openflow.Entry
	refuse  error
	applied int
	dumped  int
	lost    chan struct{}
}

func newFake() *fakeSwitch {
	return &fakeSwitch{flows: map[flows.Key]flows.Flow{}, lost: make(chan struct{})}
}

func (s *fakeSwitch) Dump(context.Context) ([]openflow.Entry, error) {
	s.dumped++
	out := slices.Clone(s.strange)
	for _, f := range s.flows {
		out = append(out, openflow.Entry{Flow: f})
	}
	return out, nil
}

func (s *fakeSwitch) Apply(_ context.Context, c openflow.Change) error {
	s.applied++
	if s.refuse != nil {
		return s.refuse
	}
	for _, e := range c.Remove {
		if e.Strange != "" {
			s.strange = slices.DeleteFunc(s.strange, func(o openflow.Entry) bool { return o.Strange == e.Strange })
			continue
		}
		delete(s.flows, e.Flow.Key())
	}
	for _, f := range c.Add {
		s.flows[f.Key()] = f
	}
	return nil
}

func (s *fakeSwitch) Lost() <-chan struct{} { return s.lost }
func (s *fakeSwitch) Close() error          { return nil }

func (s *fakeSwitch) list() []flows.Flow {
	var out []flows.Flow
	for _, f := range s.flows {
		out = append(out, f)
	}
	flows.Sort(out)
	return out
}

func flow(table, port uint32, actions ...flows.Action) flows.Flow {
	return flows.Flow{Table: flows.TableID(table), Priority: 1, Cookie: 7, Match: flows.Match{}.InPort(port), Actions: actions}
}

func reconciler(switches ...*fakeSwitch) *reconcile.Reconciler {
	return reconcile.New(func(context.Context) (openflow.Switch, error) {
		if len(switches) == 0 {
			return nil, errors.New("no switch")
		}
		sw := switches[0]
		switches = switches[1:]
		return sw, nil
	}, slog.New(slog.DiscardHandler))
}

func apply(t *testing.T, r *reconcile.Reconciler, want []flows.Flow, look bool) {
	t.Helper()
	if err := r.Apply(t.Context(), want, look); err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsDoneWhereNothingDiffers(t *testing.T) {
	sw := newFake()
	sw.flows[flow(0, 1).Key()] = flow(0, 1)
	r := reconciler(sw)
	for range 3 {
		apply(t, r, []flows.Flow{flow(0, 1)}, true)
	}
	if sw.applied != 0 || r.Repaired() != 0 {
		t.Errorf("%d bundles, %d repairs", sw.applied, r.Repaired())
	}
	apply(t, r, []flows.Flow{flow(0, 1)}, false)
	if sw.dumped != 3 {
		t.Errorf("%d dumps, want the 3 that were asked for", sw.dumped)
	}
}

func TestWhatOthersDidIsPutRightAndCounted(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(*fakeSwitch)
		n    uint64
	}{
		{"a flow deleted", func(s *fakeSwitch) { delete(s.flows, flow(0, 1).Key()) }, 1},
		{"all flows deleted", func(s *fakeSwitch) { clear(s.flows) }, 2},
		{"a flow's actions changed", func(s *fakeSwitch) { s.flows[flow(0, 1).Key()] = flow(0, 1, flows.OutputTo{Port: 9}) }, 1},
		{"a foreign flow", func(s *fakeSwitch) { s.flows[flow(3, 3).Key()] = flow(3, 3) }, 1},
		{"a flow in words that nobody knows", func(s *fakeSwitch) { s.strange = append(s.strange, openflow.Entry{Strange: "learn(...)"}) }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			sw := newFake()
			want := []flows.Flow{flow(0, 1), flow(0, 2, flows.DecTTL{})}
			r := reconciler(sw)
			apply(t, r, want, false)
			c.harm(sw)
			apply(t, r, want, true)
			if !slices.EqualFunc(sw.list(), want, flows.Flow.Equal) || len(sw.strange) != 0 {
				t.Errorf("left: %v, %v", sw.list(), sw.strange)
			}
			if r.Repaired() != c.n {
				t.Errorf("counted %d repairs, want %d", r.Repaired(), c.n)
			}
		})
	}
}

func TestALostSwitchIsOpenedAgainAndFilled(t *testing.T) {
	first, second := newFake(), newFake()
	r := reconciler(first, second)
	want := []flows.Flow{flow(0, 1)}
	apply(t, r, want, false)
	close(first.lost)
	apply(t, r, want, false)
	if !slices.EqualFunc(second.list(), want, flows.Flow.Equal) || r.Connection() != 2 || r.Repaired() != 0 {
		t.Errorf("second switch: %v; connection %d, repaired %d", second.list(), r.Connection(), r.Repaired())
	}
	close(second.lost)
	if err := r.Apply(t.Context(), want, false); err == nil || r.Connected() {
		t.Errorf("without a switch: %v, connected %v", err, r.Connected())
	}
}

func TestAfterARefusalNothingIsPresumed(t *testing.T) {
	sw := newFake()
	r := reconciler(sw)
	apply(t, r, []flows.Flow{flow(0, 1)}, false)
	sw.refuse = errors.New("OFPBAC_BAD_TYPE")
	if err := r.Apply(t.Context(), []flows.Flow{flow(0, 2)}, false); !errors.Is(err, sw.refuse) {
		t.Fatalf("got %v", err)
	}
	sw.refuse = nil
	dumps := sw.dumped
	apply(t, r, []flows.Flow{flow(0, 2)}, false)
	if sw.dumped != dumps+1 || !slices.EqualFunc(sw.list(), []flows.Flow{flow(0, 2)}, flows.Flow.Equal) {
		t.Errorf("%d dumps more, flows %v", sw.dumped-dumps, sw.list())
	}
}

// TestAnySequenceEndsInTheLastDesired: whatever was desired before, whatever others
// did, the switch holds what is desired now.
func TestAnySequenceEndsInTheLastDesired(t *testing.T) {
	set := rapid.Custom(func(t *rapid.T) []flows.Flow {
		var out []flows.Flow
		for _, port := range rapid.SliceOfNDistinct(rapid.Uint32Range(1, 6), 0, 6, rapid.ID[uint32]).Draw(t, "ports") {
			out = append(out, flow(0, port, rapid.SampledFrom([]flows.Action{flows.DecTTL{}, flows.OutputTo{Port: 1}, flows.Goto{Table: 2}}).Draw(t, "action")))
		}
		flows.Sort(out)
		return out
	})
	rapid.Check(t, func(t *rapid.T) {
		sw := newFake()
		r := reconciler(sw)
		for range rapid.IntRange(1, 8).Draw(t, "passes") {
			want := set.Draw(t, "desired")
			if rapid.Bool().Draw(t, "harm") {
				for _, f := range set.Draw(t, "foreign") {
					sw.flows[f.Key()] = f
				}
				if err := r.Apply(context.Background(), want, true); err != nil {
					t.Fatal(err)
				}
			} else if err := r.Apply(context.Background(), want, false); err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(sw.list(), want, flows.Flow.Equal) {
				t.Fatalf("holds %v, want %v", sw.list(), want)
			}
		}
	})
}
