package db

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/sluice-cni/sluice/ovs/db/vswitch"
)

// errNoRoot means that the database is empty.
var errNoRoot = errors.New("the database has no Open_vSwitch row: initialise it with `ovs-vsctl init`")

// ServerInfo is what Open vSwitch says of itself in the Open_vSwitch row.
type ServerInfo struct {
	// OVSVersion, DBVersion and SystemID are written by whoever starts Open
	// vSwitch (distributions do), and are "" if nobody did.
	OVSVersion, DBVersion, SystemID string
	// DatapathTypes and IfaceTypes are what ovs-vswitchd can do, sorted; none
	// until it has run.
	DatapathTypes, IfaceTypes []string
}

// Server returns what Open vSwitch says of itself.
func (c *Client) Server() ServerInfo {
	root, ok := c.last().root()
	if !ok {
		return ServerInfo{}
	}
	return ServerInfo{
		OVSVersion:    value(root.OVSVersion),
		DBVersion:     value(root.DbVersion),
		SystemID:      root.ExternalIDs["system-id"],
		DatapathTypes: slices.Sorted(slices.Values(root.DatapathTypes)),
		IfaceTypes:    slices.Sorted(slices.Values(root.IfaceTypes)),
	}
}

// OpenvSwitchOtherConfig returns other_config of the Open_vSwitch row.
func (c *Client) OpenvSwitchOtherConfig() map[string]string {
	root, ok := c.last().root()
	if !ok {
		return nil
	}
	return root.OtherConfig
}

// SetOpenvSwitchOtherConfig sets and removes keys of other_config in the
// Open_vSwitch row, and leaves the others alone.
func (c *Client) SetOpenvSwitchOtherConfig(ctx context.Context, set map[string]string, remove []string) error {
	return c.setRoot(ctx, "other_config", func(root *vswitch.OpenvSwitch) *map[string]string { return &root.OtherConfig }, set, remove)
}

// WaitApplied returns when ovs-vswitchd has taken up all that was in the
// database when it was called: bridges and their OpenFlow sockets exist. It asks
// as ovs-vsctl does (next_cfg and cur_cfg, ovs-vswitchd.conf.db(5)). It is
// bounded by ctx and by 30 s.
func (c *Client) WaitApplied(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, waitBound)
	defer cancel()
	_, err := c.transact(ctx, func(t *transaction) error {
		root, ok := t.session.root()
		if !ok {
			return errNoRoot
		}
		t.mutate(root, []model.Mutation{{Field: &root.NextCfg, Mutator: ovsdb.MutateOperationAdd, Value: 1}})
		return nil
	})
	if err != nil {
		return fmt.Errorf("ask ovs-vswitchd to take up the configuration: %w", err)
	}
	// The cache has what was just written, or something later.
	wanted := -1
	for {
		next := c.next()
		if root, ok := c.last().root(); ok {
			if wanted < 0 {
				wanted = root.NextCfg
			}
			if root.CurCfg >= wanted {
				return nil
			}
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("wait until ovs-vswitchd has taken up the configuration: %w: is it running? (`systemctl status openvswitch-switch`)", ctx.Err())
		}
	}
}
