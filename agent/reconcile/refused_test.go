package reconcile_test

import (
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

type refusal = reconcile.RefusedError

var (
	errBadPort   = &openflow.Error{Type: 2, Code: 4} // OFPBAC_BAD_OUT_PORT
	errTableFull = &openflow.Error{Type: 5, Code: 1} // OFPFMFC_TABLE_FULL
)

// refusing makes a switch refuse a flow that matches a port.
func refusing(sw *fakeSwitch, port uint32, err error) {
	match := flows.Match{}.InPort(port)
	sw.refuse = func(f flows.Flow) error {
		if f.Match.Equal(match) {
			return err
		}
		return nil
	}
}

func TestARefusedOwnerStaysAsItWasAndAllElseGoesOn(t *testing.T) {
	for _, look := range []reconcile.Look{reconcile.Trust, reconcile.LookAtAll} {
		sw := newFake()
		r := reconciler(sw)
		before := owned("bad", flow(0, 1), flow(0, 2))
		apply(t, r, reconcile.Trust, before)
		refusing(sw, 3, errBadPort)
		bad, good := owned("bad", flow(0, 2, flows.DecTTL{}), flow(0, 3)), owned("good", flow(0, 4))
		apply(t, r, look, bad, good)
		if !sw.holds(before, good) {
			t.Errorf("look %v: holds %v", look, sw.flows)
		}
		refused := r.Refused()
		if len(refused) != 1 || refused[0].Owner != bad.Owner {
			t.Fatalf("look %v: refused %v", look, refused)
		}
		for _, part := range []string{"pod bad", "in_port=3", "OFPBAC_BAD_OUT_PORT"} {
			if !strings.Contains(refused[0].Error(), part) {
				t.Errorf("%q does not name %s", refused[0], part)
			}
		}
	}
}

func TestWhatWasRefusedIsNotTriedOverAndOver(t *testing.T) {
	sw := newFake()
	r := reconciler(sw)
	refusing(sw, 3, errBadPort)
	bad, good := owned("bad", flow(0, 3)), owned("good", flow(0, 4))
	apply(t, r, reconcile.Trust, bad, good)
	applied := sw.applied
	apply(t, r, reconcile.Trust, bad, good)
	apply(t, r, reconcile.LookAtAll, bad, good)
	if sw.applied != applied || len(r.Refused()) != 1 {
		t.Errorf("%d bundles more, refused %v", sw.applied-applied, r.Refused())
	}
	// Something else is desired of it.
	better := owned("bad", flow(0, 5))
	apply(t, r, reconcile.Trust, better, good)
	if !sw.holds(better, good) || len(r.Refused()) != 0 {
		t.Errorf("holds %v, refused %v", sw.flows, r.Refused())
	}
}

func TestAFullTableIsTriedAgainAtEachLook(t *testing.T) {
	sw := newFake()
	r := reconciler(sw)
	refusing(sw, 3, errTableFull)
	a := owned("a", flow(0, 3))
	apply(t, r, reconcile.Trust, a)
	refusing(sw, 99, errTableFull)
	apply(t, r, reconcile.LookAtAll, a)
	if !sw.holds(a) || len(r.Refused()) != 0 {
		t.Errorf("holds %v, refused %v", sw.flows, r.Refused())
	}
}

func TestAnotherSwitchIsAskedAgain(t *testing.T) {
	first, second := newFake(), newFake()
	refusing(first, 3, errBadPort)
	r := reconciler(first, second)
	a := owned("a", flow(0, 3))
	apply(t, r, reconcile.Trust, a)
	close(first.lost)
	apply(t, r, reconcile.Trust, a)
	if !second.holds(a) || len(r.Refused()) != 0 {
		t.Errorf("holds %v, refused %v", second.flows, r.Refused())
	}
}

// TestAGroupOfARefusedOwnerStays, since flows that stay still name it.
func TestAGroupOfARefusedOwnerStays(t *testing.T) {
	for _, look := range []reconcile.Look{reconcile.Trust, reconcile.LookAtAll} {
		sw := newFake()
		r := reconciler(sw)
		before := withGroups(owned("a", flow(0, 1, flows.ToGroup{Group: 1})), group(1, 1))
		apply(t, r, reconcile.Trust, before)
		sw.refuseGroup = func(g flows.Group) error {
			if g.ID == 2 {
				return &openflow.Error{Type: 6, Code: 3}
			}
			return nil
		}
		after := withGroups(owned("a", flow(0, 1, flows.ToGroup{Group: 2})), group(2, 1))
		apply(t, r, look, after)
		if !sw.holds(before) || len(r.Refused()) != 1 {
			t.Errorf("look %v: holds %v %v, refused %v", look, sw.flows, sw.groups, r.Refused())
		}
		apply(t, r, look)
		if !sw.holds() || len(r.Refused()) != 0 {
			t.Errorf("look %v: when it is gone: %v %v, refused %v", look, sw.flows, sw.groups, r.Refused())
		}
	}
}
