package db

import (
	"context"
	"fmt"
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
	_, err := c.transact(ctx, func(t *transaction) error {
		root, ok := t.session.root()
		if !ok {
			return errNoRoot
		}
		if differs(root.ExternalIDs, set, remove) {
			t.mutate(root, mapMutations(&root.ExternalIDs, set, remove))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("change external_ids of the Open_vSwitch row: %w", err)
	}
	return nil
}
