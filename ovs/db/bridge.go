package db

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/sluice-cni/sluice/ovs/db/vswitch"
)

// BridgeSpec is what a bridge shall be. A field with the zero value is left as
// it is, or as Open vSwitch has it in a new bridge.
type BridgeSpec struct {
	// Name is also that of the bridge's own internal port; at most 15 bytes.
	Name string
	// DatapathType is "system" (kernel) or "netdev" (userspace). Changing it
	// makes ovs-vswitchd create the datapath anew: flows and addresses are lost.
	DatapathType string
	// FailMode is "secure" or "standalone".
	FailMode string
	// Protocols are OpenFlow versions, such as "OpenFlow15".
	Protocols []string
	// TableNames name OpenFlow tables for `ovs-ofctl --names`. If it is not nil
	// it is the whole truth: tables that are not in it lose their name.
	TableNames map[uint8]string
	// OtherConfig and ExternalIDs are set; other keys are left alone.
	OtherConfig, ExternalIDs map[string]string
}

// Bridge is a bridge as the database has it.
type Bridge struct {
	Name string
	// DatapathID is 16 hexadecimal digits, "" until ovs-vswitchd has made the bridge.
	DatapathID string
	// DatapathType is "system" or "netdev".
	DatapathType string
	// FailMode is "", which means standalone, or as in BridgeSpec.
	FailMode                 string
	Protocols                []string
	TableNames               map[uint8]string
	OtherConfig, ExternalIDs map[string]string
}

// EnsureBridge creates the bridge with its internal port, or changes what
// differs from the specification, in one transaction, and tells whether anything
// was written. It does not wait for ovs-vswitchd: see WaitApplied. A name that a
// port has gives ErrExists.
func (c *Client) EnsureBridge(ctx context.Context, spec BridgeSpec) (changed bool, err error) {
	results, err := c.transact(ctx, func(t *transaction) error {
		if bridge, ok := t.session.bridge(spec.Name); ok {
			t.changeBridge(bridge, spec)
		} else {
			t.createBridge(spec)
		}
		return nil
	})
	if taken(err) {
		return false, fmt.Errorf("create bridge %q: %w: %w", spec.Name, ErrExists, err)
	}
	if err != nil {
		return false, fmt.Errorf("create or change bridge %q: %w", spec.Name, err)
	}
	return len(results) > 0, nil
}

func (t *transaction) createBridge(spec BridgeSpec) {
	t.insert(&vswitch.Interface{UUID: "interface", Name: spec.Name, Type: "internal"})
	t.insert(&vswitch.Port{UUID: "port", Name: spec.Name, Interfaces: []string{"interface"}})
	t.insert(&vswitch.Bridge{
		UUID:         "bridge",
		Name:         spec.Name,
		Ports:        []string{"port"},
		DatapathType: spec.DatapathType,
		FailMode:     optional(spec.FailMode),
		Protocols:    spec.Protocols,
		FlowTables:   t.nameTables(nil, spec.TableNames),
		OtherConfig:  spec.OtherConfig,
		ExternalIDs:  spec.ExternalIDs,
	})
	root, ok := t.session.root()
	if !ok { // as `ovs-vsctl init` does
		t.insert(&vswitch.OpenvSwitch{UUID: "root", Bridges: []string{"bridge"}})
		return
	}
	t.mutate(root, []model.Mutation{{Field: &root.Bridges, Mutator: ovsdb.MutateOperationInsert, Value: []string{"bridge"}}})
}

func (t *transaction) changeBridge(bridge *vswitch.Bridge, spec BridgeSpec) {
	var fields []any
	if spec.DatapathType != "" && datapathType(bridge) != spec.DatapathType {
		bridge.DatapathType = spec.DatapathType
		fields = append(fields, &bridge.DatapathType)
	}
	if spec.FailMode != "" && value(bridge.FailMode) != spec.FailMode {
		bridge.FailMode = &spec.FailMode
		fields = append(fields, &bridge.FailMode)
	}
	if len(spec.Protocols) > 0 && !sameSet(bridge.Protocols, spec.Protocols) {
		bridge.Protocols = spec.Protocols
		fields = append(fields, &bridge.Protocols)
	}
	if spec.TableNames != nil {
		if tables := t.nameTables(bridge.FlowTables, spec.TableNames); !maps.Equal(tables, bridge.FlowTables) {
			bridge.FlowTables = tables
			fields = append(fields, &bridge.FlowTables)
		}
	}
	if len(fields) > 0 {
		t.update(bridge, fields...)
	}
	var ms []model.Mutation
	if differs(bridge.OtherConfig, spec.OtherConfig, nil) {
		ms = append(ms, mapMutations(&bridge.OtherConfig, spec.OtherConfig, nil)...)
	}
	if differs(bridge.ExternalIDs, spec.ExternalIDs, nil) {
		ms = append(ms, mapMutations(&bridge.ExternalIDs, spec.ExternalIDs, nil)...)
	}
	if len(ms) > 0 {
		t.mutate(bridge, ms)
	}
}

// nameTables gives each table its row of Flow_Table, which bears the name: one
// that it has already (changed if the name is another), or a new one. Rows that
// nothing refers to any more are deleted by the server.
func (t *transaction) nameTables(have map[int]string, names map[uint8]string) map[int]string {
	tables := make(map[int]string, len(names))
	for _, number := range slices.Sorted(maps.Keys(names)) {
		name := names[number]
		row, ok := byUUID[*vswitch.FlowTable](t.session, vswitch.FlowTableTable, have[int(number)])
		if !ok {
			row = &vswitch.FlowTable{UUID: fmt.Sprintf("table%d", number), Name: &name}
			t.insert(row)
		} else if value(row.Name) != name {
			row.Name = &name
			t.update(row, &row.Name)
		}
		tables[int(number)] = row.UUID
	}
	return tables
}

// DeleteBridge deletes the bridge with all its ports. One that does not exist is
// no error.
func (c *Client) DeleteBridge(ctx context.Context, name string) error {
	_, err := c.transact(ctx, func(t *transaction) error {
		bridge, ok := t.session.bridge(name)
		root, found := t.session.root()
		if !ok || !found {
			return nil
		}
		t.mutate(root, []model.Mutation{{Field: &root.Bridges, Mutator: ovsdb.MutateOperationDelete, Value: []string{bridge.UUID}}})
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete bridge %q: %w", name, err)
	}
	return nil
}

// NoteBridge changes the bridge's external_ids. It gives ErrNoBridge if there is
// none.
func (c *Client) NoteBridge(ctx context.Context, name string, note BridgeNote) error {
	results, err := c.transact(ctx, func(t *transaction) error {
		bridge, ok := t.session.bridge(name)
		if !ok {
			return ErrNoBridge
		}
		if differs(bridge.ExternalIDs, note.Set, note.Remove) {
			t.mutate(bridge, note.mutations(bridge))
		}
		return nil
	})
	if err == nil && len(results) > 0 && results[0].Count == 0 {
		err = ErrNoBridge
	}
	if err != nil {
		return fmt.Errorf("change external_ids of bridge %q: %w", name, err)
	}
	return nil
}

// Bridge returns the bridge of that name.
func (c *Client) Bridge(name string) (Bridge, bool) {
	s := c.last()
	row, ok := s.bridge(name)
	if !ok {
		return Bridge{}, false
	}
	names := map[uint8]string{}
	for number, uuid := range row.FlowTables {
		if table, ok := byUUID[*vswitch.FlowTable](s, vswitch.FlowTableTable, uuid); ok && table.Name != nil {
			names[uint8(number)] = *table.Name
		}
	}
	return Bridge{
		Name:         row.Name,
		DatapathID:   value(row.DatapathID),
		DatapathType: datapathType(row),
		FailMode:     value(row.FailMode),
		Protocols:    slices.Sorted(slices.Values(row.Protocols)),
		TableNames:   names,
		OtherConfig:  row.OtherConfig,
		ExternalIDs:  row.ExternalIDs,
	}, true
}

// Bridges returns the names of all bridges, sorted.
func (c *Client) Bridges() []string {
	var names []string
	// A copy of each would cost as much as all that its external_ids note.
	for _, row := range c.last().cache.Table(vswitch.BridgeTable).RowsShallow() {
		names = append(names, row.(*vswitch.Bridge).Name)
	}
	slices.Sort(names)
	return names
}

// datapathType returns the type by its name: empty means "system".
func datapathType(row *vswitch.Bridge) string {
	if row.DatapathType == "" {
		return "system"
	}
	return row.DatapathType
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// value returns what an optional column holds, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// optional is the reverse of value.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
