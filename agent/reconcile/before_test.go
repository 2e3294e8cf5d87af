package reconcile_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows/render"
)

// names are those of the owners, or "found" of what a switch was found to hold.
func names(set []*render.Owned) (out []string) {
	for _, o := range set {
		switch {
		case o.Owner.Name != "":
			out = append(out, o.Owner.Name)
		case len(o.Flows) > 0:
			out = append(out, "found")
		}
	}
	return out
}

func TestBeforeAChangeItIsToldWhatGoesAndWhatComes(t *testing.T) {
	sw := newFake()
	r := reconciler(sw)
	var was, now []string
	var refuse error
	r.Before = func(_ context.Context, w, n []*render.Owned) error {
		was, now = names(w), names(n)
		return refuse
	}
	expect := func(when string, wantWas, wantNow []string) {
		t.Helper()
		if !slices.Equal(was, wantWas) || !slices.Equal(now, wantNow) {
			t.Errorf("%s: was %v, now %v; want %v, %v", when, was, now, wantWas, wantNow)
		}
		was, now = nil, nil
	}
	a, b, other := owned("a", flow(0, 1)), owned("b", flow(0, 2)), owned("b", flow(0, 3))
	apply(t, r, reconcile.Trust, a, b)
	expect("an empty switch", nil, []string{"a", "b"})
	apply(t, r, reconcile.LookAtAll, a, b)
	expect("nothing to change", nil, nil)
	apply(t, r, reconcile.Trust, a, other)
	expect("an owner changes", []string{"b"}, []string{"b"})
	apply(t, r, reconcile.Trust, a)
	expect("an owner goes", []string{"b"}, nil)

	refuse = errors.New("not yet")
	if err := r.Apply(t.Context(), []*render.Owned{a, b}, reconcile.Trust); !errors.Is(err, refuse) || sw.holds(b) {
		t.Errorf("%v, and the switch has changed: %v", err, sw.holds(b))
	}
	refuse = nil
	clear(sw.flows) // as after a restart: connections may go by what it held
	apply(t, r, reconcile.Trust, b)
	expect("another connection, with an empty switch", []string{"a"}, []string{"b"})
	sw.flows[a.Flows[0].Key()] = a.Flows[0]
	apply(t, r, reconcile.LookAtAll, b)
	expect("more is found than was left there", []string{"found"}, []string{"b"})
}
