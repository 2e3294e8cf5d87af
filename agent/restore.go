package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// restoreWait is the key of Open_vSwitch.other_config under which a starting
// ovs-vswitchd leaves the kernel's cached flows alone, and takes no new ones, until
// the key is removed (ovs-vswitchd.conf.db(5)). While it runs it does not look at it.
const restoreWait = "flow-restore-wait"

// restore keeps pods' traffic going while ovs-vswitchd is away. On the kernel's
// datapath the key stays armed, so that however ovs-vswitchd restarts, the kernel
// goes on with the flows that it has; as soon as the tables are in, the key is taken
// away and set again. Whoever set it, every start of the switch is released: an agent
// cannot know what its predecessor had got to, and releasing twice does no harm.
//
// Userspace Open vSwitch has no flows that outlive it, and a node whose own address is
// on a bridge would be cut off while it waits: there the key is never left.
type restore struct {
	log *slog.Logger
	// released is the connection to the switch that has been released.
	released uint64
}

// arms tells whether the key is to stay armed on this node.
func arms(f state.Facts, ovsdb *db.Client) bool {
	return f.Datapath == "system" && !slices.ContainsFunc(ovsdb.Bridges(), func(bridge string) bool {
		_, carries := ovsdb.Port(bridge, f.UnderlayDevice)
		return carries
	})
}

// restoreState is what the key means on this node, in words; empty if it is not set.
func restoreState(set, arm bool) string {
	switch {
	case !set:
		return ""
	case arm:
		return "armed: pods' traffic goes on while ovs-vswitchd restarts"
	default:
		return "set by somebody: a starting ovs-vswitchd forwards nothing; it is removed as soon as the tables are in"
	}
}

// keep is called when the tables of this connection to the switch are in.
func (r *restore) keep(ctx context.Context, ovsdb *db.Client, connection uint64, arm bool) error {
	set := ovsdb.OpenvSwitchOtherConfig()[restoreWait] != ""
	if set && (r.released != connection || !arm) {
		if err := ovsdb.SetOpenvSwitchOtherConfig(ctx, nil, []string{restoreWait}); err != nil {
			return fmt.Errorf("release %s: %w", restoreWait, err)
		}
		// The switch must have seen that the key is gone before it is set again.
		if err := ovsdb.WaitApplied(ctx); err != nil {
			return fmt.Errorf("release %s: %w", restoreWait, err)
		}
		r.log.Info("the tables are in: ovs-vswitchd is released", "key", restoreWait)
		set = false
	}
	r.released = connection
	if arm && !set {
		if err := ovsdb.SetOpenvSwitchOtherConfig(ctx, map[string]string{restoreWait: "true"}, nil); err != nil {
			return fmt.Errorf("arm %s: %w", restoreWait, err)
		}
	}
	return nil
}
