package scenarios

import (
	"context"
	"log/slog"
	"testing"

	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// TestGroupsComeBeforeTheFlowsThatUseThem, and go after them: a real switch refuses a flow
// to a group that is not there, and takes away the flows of a group that goes.
func TestGroupsComeBeforeTheFlowsThatUseThem(t *testing.T) {
	ovs := ovstest.Start(t)
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+ovstest.Datapath(), "fail_mode=secure")
	r := reconcile.New(func(ctx context.Context) (openflow.Switch, error) {
		return openflow.Dial(ctx, ovs.MgmtSocket("br0"), nil)
	}, slog.New(slog.DiscardHandler))
	defer r.Close()
	put := func(look reconcile.Look, set ...*render.Owned) {
		t.Helper()
		if err := r.Apply(t.Context(), set, look); err != nil {
			t.Fatal(err)
		}
		if refused := r.Refused(); len(refused) > 0 {
			t.Fatalf("refused: %v", refused)
		}
	}
	owned := func(name string) *render.Owned {
		return &render.Owned{Owner: flows.Owner{Kind: flows.OwnerPod, Name: name}}
	}
	flow := func(o *render.Owned, priority uint16, actions ...flows.Action) *render.Owned {
		o.Flows = append(o.Flows, flows.Flow{Priority: priority, Cookie: o.Owner.Cookie(flows.RuleSend), Actions: actions})
		return o
	}
	group := func(o *render.Owned, id, port uint32) *render.Owned {
		o.Groups = append(o.Groups, flows.Group{ID: id, Method: "dp_hash", Buckets: []flows.Bucket{
			{ID: 1, Weight: 1, Actions: []flows.Action{flows.OutputTo{Port: port}}},
		}})
		return o
	}
	to := func(id uint32) flows.Action { return flows.ToGroup{Group: id} }
	for _, step := range []struct {
		name string
		set  []*render.Owned
	}{
		{"a group and the flow that uses it", []*render.Owned{group(flow(owned("a"), 1, to(1)), 1, 1)}},
		{"its bucket changes", []*render.Owned{group(flow(owned("a"), 1, to(1)), 1, 2)}},
		{"the flow goes to a new group, and the old one goes", []*render.Owned{group(flow(owned("a"), 1, to(2)), 2, 1)}},
		{"another flow takes the group over", []*render.Owned{group(flow(owned("a"), 2, to(2)), 2, 1)}},
		{"the group becomes another owner's", []*render.Owned{flow(owned("a"), 2, to(2)), group(owned("b"), 2, 1)}},
		{"of an earlier owner", []*render.Owned{group(owned("a"), 2, 3), flow(owned("b"), 2, to(2))}},
		{"the group goes, its flow stays with another action", []*render.Owned{owned("a"), flow(owned("b"), 2, flows.OutputTo{Port: 1})}},
		{"all goes", nil},
	} {
		put(reconcile.Trust, step.set...)
		put(reconcile.LookAtAll, step.set...)
		if r.Repaired() != 0 {
			t.Fatalf("%s: the switch did not hold what it was given", step.name)
		}
	}
}
