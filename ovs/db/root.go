package db

import (
	"context"
	"fmt"

	"github.com/sluice-cni/sluice/ovs/db/vswitch"
)

// OpenvSwitchExternalIDs returns external_ids of the Open_vSwitch row.
func (c *Client) OpenvSwitchExternalIDs() map[string]string {
	root, ok := c.last().root()
	if !ok {
		return nil
	}
	return root.ExternalIDs
}

// SetOpenvSwitchExternalIDs sets and removes keys of external_ids in the Open_vSwitch row,
// and leaves the others alone.
func (c *Client) SetOpenvSwitchExternalIDs(ctx context.Context, set map[string]string, remove []string) error {
	return c.setRoot(ctx, "external_ids", func(root *vswitch.OpenvSwitch) *map[string]string { return &root.ExternalIDs }, set, remove)
}

// setRoot sets and removes keys of a column of the Open_vSwitch row.
func (c *Client) setRoot(ctx context.Context, name string, column func(*vswitch.OpenvSwitch) *map[string]string, set map[string]string, remove []string) error {
	_, err := c.transact(ctx, func(t *transaction) error {
		root, ok := t.session.root()
		if !ok {
			return errNoRoot
		}
		if have := column(root); differs(*have, set, remove) {
			t.mutate(root, mapMutations(have, set, remove))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("change %s of the Open_vSwitch row: %w", name, err)
	}
	return nil
}
