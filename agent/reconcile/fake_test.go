package reconcile_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// fakeSwitch holds flows and groups as a switch does: one of a key, changes whole or
// not at all.
type fakeSwitch struct {
	flows  map[flows.Key]flows.Flow
	groups map[uint32]flows.Group
	// groupsRead counts those that were asked for by their numbers.
	groupsRead int
	strange    []openflow.Entry
	// refuse says what is wrong with a flow or a group, if anything.
	refuse      func(flows.Flow) error
	refuseGroup func(flows.Group) error
	// fail is what becomes of all changes.
	fail    error
	applied int
	dumped  int
	lost    chan struct{}
	// events are what Watch tells of; nil tells of nothing.
	events chan openflow.FlowEvent
	// unwatchable is why it cannot be watched.
	unwatchable error
	closed      bool
}

func newFake() *fakeSwitch {
	return &fakeSwitch{
		flows: map[flows.Key]flows.Flow{}, groups: map[uint32]flows.Group{}, lost: make(chan struct{}),
		refuse: func(flows.Flow) error { return nil }, refuseGroup: func(flows.Group) error { return nil },
	}
}

func (s *fakeSwitch) Dump(context.Context) ([]openflow.Entry, error) {
	s.dumped++
	out := slices.Clone(s.strange)
	for _, f := range s.flows {
		out = append(out, openflow.Entry{Flow: f})
	}
	return out, nil
}

func (s *fakeSwitch) DumpCookies(ctx context.Context, cookie, mask flows.Cookie) ([]openflow.Entry, error) {
	all, err := s.Dump(ctx)
	s.dumped--
	return slices.DeleteFunc(all, func(e openflow.Entry) bool { return e.Flow.Cookie&mask != cookie&mask }), err
}

func (s *fakeSwitch) DumpGroups(context.Context) ([]openflow.GroupEntry, error) {
	var out []openflow.GroupEntry
	for _, g := range s.groups {
		out = append(out, openflow.GroupEntry{Group: g})
	}
	return out, nil
}

func (s *fakeSwitch) DumpGroupsOf(ctx context.Context, ids []uint32) ([]openflow.GroupEntry, error) {
	s.groupsRead += len(ids)
	all, err := s.DumpGroups(ctx)
	return slices.DeleteFunc(all, func(e openflow.GroupEntry) bool { return !slices.Contains(ids, e.Group.ID) }), err
}

func (s *fakeSwitch) GroupStats(context.Context) ([]openflow.GroupStats, error) { return nil, nil }

func (s *fakeSwitch) Apply(_ context.Context, c openflow.Change) error {
	s.applied++
	if s.fail != nil {
		return s.fail
	}
	var refused []error
	for _, g := range c.PutGroups {
		if err := s.refuseGroup(g); err != nil {
			refused = append(refused, &openflow.GroupError{Group: g, Err: err})
		}
	}
	for _, f := range c.Add {
		if err := s.refuse(f); err != nil {
			refused = append(refused, &openflow.FlowError{Flow: f, Err: err})
		}
	}
	if len(refused) > 0 {
		return &openflow.ChangeError{Errs: refused}
	}
	for _, g := range c.PutGroups {
		s.groups[g.ID] = g
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
	for _, id := range c.RemoveGroups {
		delete(s.groups, id)
		maps.DeleteFunc(s.flows, func(_ flows.Key, f flows.Flow) bool {
			return slices.Contains(f.Actions, flows.Action(flows.ToGroup{Group: id}))
		})
	}
	return nil
}

func (s *fakeSwitch) Watch(context.Context) (<-chan openflow.FlowEvent, error) {
	if s.unwatchable != nil {
		return nil, s.unwatchable
	}
	if s.events == nil {
		ended := make(chan openflow.FlowEvent)
		close(ended)
		return ended, nil
	}
	return s.events, nil
}

func (s *fakeSwitch) Lost() <-chan struct{} { return s.lost }
func (s *fakeSwitch) Close() error          { s.closed = true; return nil }

// holds compares what the switch has with a set.
func (s *fakeSwitch) holds(set ...*render.Owned) bool {
	want := render.Result{Set: set}
	list := slices.SortedFunc(maps.Values(s.flows), flows.Compare)
	groups := slices.SortedFunc(maps.Values(s.groups), flows.CompareGroups)
	return slices.EqualFunc(list, want.Flows(), flows.Flow.Equal) && slices.EqualFunc(groups, want.Groups(), flows.Group.Equal)
}

// flow is one with a priority and a port that it matches.
func flow(table, port uint32, actions ...flows.Action) flows.Flow {
	return flows.Flow{Table: flows.TableID(table), Priority: 1, Match: flows.Match{}.InPort(port), Actions: actions}
}

// owned makes the flows a pod's.
func owned(name string, list ...flows.Flow) *render.Owned {
	o := &render.Owned{Owner: flows.Owner{Kind: flows.OwnerPod, Name: name}}
	for _, f := range list {
		f.Cookie = o.Owner.Cookie(flows.RuleSend)
		o.Flows = append(o.Flows, f)
	}
	flows.Sort(o.Flows)
	return o
}

func withGroups(o *render.Owned, list ...flows.Group) *render.Owned {
	o.Groups = list
	return o
}

// group is one whose buckets go out by a port.
func group(id, port uint32) flows.Group {
	return flows.Group{ID: id, Method: "dp_hash", Buckets: []flows.Bucket{{ID: 1, Weight: 1, Actions: []flows.Action{flows.OutputTo{Port: port}}}}}
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

// replaceable dials the switch that *next is at that moment.
func replaceable(sw *fakeSwitch) (r *reconcile.Reconciler, next **fakeSwitch) {
	next = &sw
	return reconcile.New(func(context.Context) (openflow.Switch, error) { return *next, nil }, slog.New(slog.DiscardHandler)), next
}

func apply(t *testing.T, r *reconcile.Reconciler, look reconcile.Look, want ...*render.Owned) {
	t.Helper()
	if err := r.Apply(t.Context(), want, look); err != nil {
		t.Fatal(err)
	}
}
