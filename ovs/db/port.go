package db

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/sluice-cni/sluice/ovs/db/vswitch"
)

// PortSpec is what a port with its one interface shall be. Fields with the zero
// value, but for Type, are left as they are, or as Open vSwitch has them in a new
// port.
type PortSpec struct {
	// Name is the port's, the interface's, and the device's.
	Name string
	// Type is "" for a device that exists, or "internal", "geneve", "vxlan"...
	Type string
	// OFPortRequest is the OpenFlow port number that is wanted, 1 to 65279. If
	// it is taken ovs-vswitchd silently gives another.
	OFPortRequest int
	// Options are the interface's, whole.
	Options map[string]string
	// MAC is the address that an internal port shall have.
	MAC string
	// MTURequest is in bytes. Without it ovs-vswitchd chooses the MTU of
	// internal ports by itself.
	MTURequest int
	// ExternalIDs are set on the port; other keys are left alone.
	ExternalIDs map[string]string
	// VLANs are what the port carries; nil leaves it, and a new port carries all.
	VLANs *VLANs
	// Limit is how fast what is sent out by the port may be; nil leaves it, and a new port
	// has none.
	Limit *Limit
}

// Port is a port, and its interface, as the database has them.
type Port struct {
	Name, Type string
	// OFPort is the OpenFlow port number: 0 if ovs-vswitchd has not given it
	// yet, -1 if it cannot use the device, and Error then says why.
	OFPort int
	// OFPortRequest is 0 if none was wanted.
	OFPortRequest int
	Error         string
	// LinkState and AdminState are "up", "down" or "" (not known).
	LinkState, AdminState string
	// MAC is what was asked for, MACInUse what the device has; both may be "".
	// Right after an internal port has got its number, MACInUse is still the one
	// that the device was made with.
	MAC, MACInUse string
	// MTU is the device's in bytes, MTURequest what was asked for; 0: not known, none.
	MTU, MTURequest      int
	Options, ExternalIDs map[string]string
}

// AddPort adds a port to the bridge and changes the bridge's external_ids by the
// note, in one transaction. It does not wait for ovs-vswitchd: see WaitPort. If
// any bridge has a port of that name it gives ErrExists, if there is no such
// bridge ErrNoBridge, and changes nothing.
func (c *Client) AddPort(ctx context.Context, bridge string, spec PortSpec, note BridgeNote) error {
	if err := c.addPort(ctx, bridge, spec, note); err != nil {
		return fmt.Errorf("add port %q to bridge %q: %w", spec.Name, bridge, err)
	}
	return nil
}

func (c *Client) addPort(ctx context.Context, bridge string, spec PortSpec, note BridgeNote) error {
	results, err := c.transact(ctx, func(t *transaction) error {
		row, ok := t.session.bridge(bridge)
		if !ok {
			return ErrNoBridge
		}
		if _, ok := t.session.port(spec.Name); ok {
			return ErrExists
		}
		ms := []model.Mutation{{Field: &row.Ports, Mutator: ovsdb.MutateOperationInsert, Value: []string{"port"}}}
		t.mutate(row, append(ms, note.mutations(row)...))
		t.insert(&vswitch.Interface{
			UUID:          "interface",
			Name:          spec.Name,
			Type:          spec.Type,
			OfportRequest: optional(spec.OFPortRequest),
			Options:       spec.Options,
			MAC:           optional(spec.MAC),
			MTURequest:    optional(spec.MTURequest),
		})
		port := &vswitch.Port{UUID: "port", Name: spec.Name, Interfaces: []string{"interface"}, ExternalIDs: spec.ExternalIDs}
		if spec.VLANs != nil {
			spec.VLANs.set(port)
		}
		t.limitPort(port, spec.Limit)
		t.insert(port)
		return nil
	})
	if taken(err) { // by another client, since the cache was looked at
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	// If the bridge has just been deleted, nothing was changed, and the server
	// has dropped the new rows, as nothing refers to them.
	if err == nil && results[0].Count == 0 {
		return ErrNoBridge
	}
	return err
}

// EnsurePort adds the port, or changes what differs from the specification, and
// tells whether anything was written; the note is carried out in the same
// transaction. A port of that name on another bridge gives ErrExists.
func (c *Client) EnsurePort(ctx context.Context, bridge string, spec PortSpec, note BridgeNote) (changed bool, err error) {
	fail := func(err error) (bool, error) {
		return false, fmt.Errorf("add or change port %q of bridge %q: %w", spec.Name, bridge, err)
	}
	if s := c.last(); !s.hasPort(spec.Name) {
		if err := c.addPort(ctx, bridge, spec, note); err != nil {
			return fail(err)
		}
		return true, nil
	}
	results, err := c.transact(ctx, func(t *transaction) error {
		row, ok := t.session.bridge(bridge)
		if !ok {
			return ErrNoBridge
		}
		port, ok := t.session.port(spec.Name)
		if !ok {
			return ErrNoPort // it was deleted meanwhile
		}
		if !slices.Contains(row.Ports, port.UUID) {
			return fmt.Errorf("%w on another bridge", ErrExists)
		}
		iface, ok := t.session.interfaceOf(port)
		if !ok {
			return fmt.Errorf("%w: it has no interface of that name", ErrNoPort)
		}
		if differs(row.ExternalIDs, note.Set, note.Remove) {
			t.mutate(row, note.mutations(row))
		}
		if differs(port.ExternalIDs, spec.ExternalIDs, nil) {
			t.mutate(port, mapMutations(&port.ExternalIDs, spec.ExternalIDs, nil))
		}
		t.changeInterface(iface, spec)
		t.changeVLANs(port, spec.VLANs)
		t.changeLimit(port, spec.Limit)
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return len(results) > 0, nil
}

func (t *transaction) changeInterface(iface *vswitch.Interface, spec PortSpec) {
	var fields []any
	if strings.TrimPrefix(iface.Type, "system") != strings.TrimPrefix(spec.Type, "system") {
		iface.Type = spec.Type
		fields = append(fields, &iface.Type)
	}
	if spec.OFPortRequest != 0 && value(iface.OfportRequest) != spec.OFPortRequest {
		iface.OfportRequest = &spec.OFPortRequest
		fields = append(fields, &iface.OfportRequest)
	}
	if spec.Options != nil && !maps.Equal(iface.Options, spec.Options) {
		iface.Options = spec.Options
		fields = append(fields, &iface.Options)
	}
	if spec.MAC != "" && !strings.EqualFold(value(iface.MAC), spec.MAC) {
		iface.MAC = &spec.MAC
		fields = append(fields, &iface.MAC)
	}
	if spec.MTURequest != 0 && value(iface.MTURequest) != spec.MTURequest {
		iface.MTURequest = &spec.MTURequest
		fields = append(fields, &iface.MTURequest)
	}
	if len(fields) > 0 {
		t.update(iface, fields...)
	}
}

// DeletePort deletes the port from the bridge and changes the bridge's
// external_ids by the note, in one transaction, and tells whether it did. If the
// bridge has no such port, or does not exist, nothing is changed, the note
// included, and that is no error: of two who delete at once, one does.
func (c *Client) DeletePort(ctx context.Context, bridge, name string, note BridgeNote) (deleted bool, err error) {
	results, err := c.transact(ctx, func(t *transaction) error {
		row, ok := t.session.bridge(bridge)
		if !ok {
			return nil
		}
		port, ok := t.session.port(name)
		if !ok || !slices.Contains(row.Ports, port.UUID) {
			return nil
		}
		ms := []model.Mutation{{Field: &row.Ports, Mutator: ovsdb.MutateOperationDelete, Value: []string{port.UUID}}}
		// The rows of the port and its interface go when nothing refers to them.
		t.mutate(row, append(ms, note.mutations(row)...),
			ovsdb.NewCondition("ports", ovsdb.ConditionIncludes, ovsdb.UUID{GoUUID: port.UUID}))
		t.changeLimit(port, &Limit{}) // its rows do not go by themselves
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("delete port %q from bridge %q: %w", name, bridge, err)
	}
	return len(results) > 0 && results[0].Count > 0, nil
}

// Ports returns the bridge's ports, its own internal one included, sorted by
// name; none if there is no such bridge. Their maps may only be read.
func (c *Client) Ports(bridge string) []Port {
	s := c.last()
	row, ok := s.bridge(bridge)
	if !ok {
		return nil
	}
	// A copy of each row would take most of the time of a pass beside many pods.
	portRows, interfaceRows := s.cache.Table(vswitch.PortTable).RowsShallow(), s.cache.Table(vswitch.InterfaceTable).RowsShallow()
	ports := make([]Port, 0, len(row.Ports))
	for _, uuid := range row.Ports {
		port, ok := portRows[uuid].(*vswitch.Port)
		if !ok {
			continue
		}
		for _, uuid := range port.Interfaces {
			if iface, ok := interfaceRows[uuid].(*vswitch.Interface); ok {
				ports = append(ports, describe(port, iface))
				break
			}
		}
	}
	slices.SortFunc(ports, func(a, b Port) int { return strings.Compare(a.Name, b.Name) })
	return ports
}

// Port returns the bridge's port of that name.
func (c *Client) Port(bridge, name string) (Port, bool) {
	s := c.last()
	row, ok := s.bridge(bridge)
	if !ok {
		return Port{}, false
	}
	port, ok := s.port(name)
	if !ok || !slices.Contains(row.Ports, port.UUID) {
		return Port{}, false
	}
	iface, ok := s.interfaceOf(port)
	if !ok {
		return Port{}, false
	}
	return describe(port, iface), true
}

func (s *session) hasPort(name string) bool {
	_, ok := s.port(name)
	return ok
}

// interfaceOf returns the port's interface; of several, in a bond, the first.
func (s *session) interfaceOf(port *vswitch.Port) (*vswitch.Interface, bool) {
	for _, uuid := range port.Interfaces {
		if iface, ok := byUUID[*vswitch.Interface](s, vswitch.InterfaceTable, uuid); ok {
			return iface, true
		}
	}
	return nil, false
}

// describe joins a port with its interface.
func describe(port *vswitch.Port, iface *vswitch.Interface) Port {
	return Port{
		Name:          port.Name,
		Type:          strings.TrimPrefix(iface.Type, "system"),
		OFPort:        value(iface.Ofport),
		OFPortRequest: value(iface.OfportRequest),
		Error:         value(iface.Error),
		LinkState:     value(iface.LinkState),
		AdminState:    value(iface.AdminState),
		MAC:           value(iface.MAC),
		MACInUse:      value(iface.MACInUse),
		MTU:           value(iface.MTU),
		MTURequest:    value(iface.MTURequest),
		Options:       iface.Options,
		ExternalIDs:   port.ExternalIDs,
	}
}

// WaitPort returns the port when ovs-vswitchd has given it its OpenFlow port
// number. It is bounded by ctx and by 30 s; the error says what it waited for. A
// device that ovs-vswitchd cannot use gives ErrPortFailed with its reason, a port
// that is not in the database (any more) ErrNoPort.
func (c *Client) WaitPort(ctx context.Context, bridge, name string) (Port, error) {
	return c.waitPort(ctx, bridge, name, nil)
}

// deviceBound is how long WaitNewPort waits until ovs-vswitchd can use the device.
const deviceBound = 10 * time.Second

// WaitNewPort is WaitPort for a port whose device is made after its row: ovs-vswitchd,
// which cannot use what is not there yet, looks again when a device appears. So its
// failure counts only when it has lasted for 10 s.
func (c *Client) WaitNewPort(ctx context.Context, bridge, name string) (Port, error) {
	late := time.NewTimer(deviceBound)
	defer late.Stop()
	return c.waitPort(ctx, bridge, name, late.C)
}

// waitPort believes a failure from late on; nil: at once.
func (c *Client) waitPort(ctx context.Context, bridge, name string, late <-chan time.Time) (Port, error) {
	ctx, cancel := context.WithTimeout(ctx, waitBound)
	defer cancel()
	for {
		next := c.nextOfPort(name)
		port, ok := c.Port(bridge, name)
		switch {
		case !ok && c.Connected():
			return Port{}, fmt.Errorf("wait for port %q of bridge %q: %w", name, bridge, ErrNoPort)
		case ok && port.OFPort > 0:
			return port, nil
		case ok && port.OFPort < 0 && late == nil:
			return port, fmt.Errorf("wait for port %q of bridge %q: %w: %s", name, bridge, ErrPortFailed, port.Error)
		}
		select {
		case <-next:
		case <-late:
			late = nil
		case <-ctx.Done():
			return port, fmt.Errorf("wait until ovs-vswitchd gives port %q of bridge %q its OpenFlow number: %w: is ovs-vswitchd running? (`systemctl status openvswitch-switch`)", name, bridge, ctx.Err())
		}
	}
}
