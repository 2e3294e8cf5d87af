package agent

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// lookAtOVSDB finds out the facts, and makes the bridge and the attachments what
// they and OVSDB say. Without look, nothing has changed in OVSDB since the last pass.
func (a *Agent) lookAtOVSDB(ctx context.Context, ovsdb *db.Client, s *state.State, p *passResult, look bool) error {
	var err error
	if s.Facts, err = a.facts(*s, ovsdb, p.state.Facts, look); err != nil {
		return err
	}
	if !look && reflect.DeepEqual(s.Facts, p.state.Facts) && flows.SameSlice(s.Nodes, p.state.Nodes) {
		return nil
	}
	if err := a.bridge(ctx, *s, ovsdb); err != nil {
		return err
	}
	if err := settleNumbers(ctx, ovsdb); err != nil {
		return err
	}
	p.problems, err = a.plugger.See(ctx, ovsdb)
	return err
}

// settleNumbers asks for the port numbers that pods' ports have. Where the one that
// was asked for is taken Open vSwitch gives another, and on the kernel's datapath it
// takes the port out and puts it back to try again, tens of times a second (seen),
// for as long as the two differ.
func settleNumbers(ctx context.Context, ovsdb *db.Client) error {
	for _, port := range ovsdb.Ports(render.Bridge) {
		_, ours, err := lease.Parse(port.Name, port.OFPort, port.ExternalIDs)
		if err != nil || !ours || port.OFPort <= 0 || port.OFPort == port.OFPortRequest {
			continue
		}
		if _, err := ovsdb.EnsurePort(ctx, render.Bridge, db.PortSpec{Name: port.Name, OFPortRequest: port.OFPort}, db.BridgeNote{}); err != nil {
			return fmt.Errorf("port %s: %w", port.Name, err)
		}
	}
	return nil
}

// facts are this machine's circumstances. Without look, OVSDB still holds what it held
// at the last pass.
func (a *Agent) facts(s state.State, ovsdb *db.Client, last state.Facts, look bool) (state.Facts, error) {
	self, ok := s.Self()
	if !ok {
		return state.Facts{}, fmt.Errorf("there is no Node object named %q in %s: is --node right?", a.cfg.Node, a.src)
	}
	under, err := a.findUnderlay(self.Addresses)
	if err != nil {
		return state.Facts{}, fmt.Errorf("node %q: %w", a.cfg.Node, err)
	}
	f := state.Facts{TunnelAddress: under.Address, OtherTunnelAddress: under.Other, UnderlayDevice: under.Device, UnderlayMTU: under.MTU}
	if !look {
		f.Datapath, f.DatapathReason, f.NativeDevices = last.Datapath, last.DatapathReason, last.NativeDevices
		return f, nil
	}
	f.Datapath, f.DatapathReason = a.datapath()
	if f.Datapath == "netdev" {
		f.NativeDevices = nativeDevices(ovsdb)
	}
	return f, nil
}

// datapath chooses which datapath the bridge has, and says why.
func (a *Agent) datapath() (datapath, why string) {
	if a.cfg.Datapath != "auto" {
		return a.cfg.Datapath, "by --datapath"
	}
	if host.KernelDatapath() {
		return "system", "the kernel has Open vSwitch's datapath (generic netlink family ovs_datapath)"
	}
	return "netdev", "the kernel has no Open vSwitch datapath (no generic netlink family ovs_datapath: module openvswitch is not loaded)"
}

// nativeDevices are the devices that userspace Open vSwitch owns on other bridges:
// the host's kernel hears their frames too.
func nativeDevices(ovsdb *db.Client) []string {
	var out []string
	for _, name := range ovsdb.Bridges() {
		b, ok := ovsdb.Bridge(name)
		if !ok || name == render.Bridge || b.DatapathType != "netdev" {
			continue
		}
		for _, p := range ovsdb.Ports(name) {
			if p.Type == "" && p.Name != name && !wire.IsHostName(p.Name) {
				out = append(out, p.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// bridge makes the bridge, its gateway and its tunnel what the state says.
func (a *Agent) bridge(ctx context.Context, s state.State, ovsdb *db.Client) error {
	changed, err := ovsdb.EnsureBridge(ctx, db.BridgeSpec{
		Name: render.Bridge, DatapathType: s.Facts.Datapath, FailMode: "secure",
		Protocols: []string{"OpenFlow10", "OpenFlow13", "OpenFlow15"}, TableNames: flows.TableNames(),
		OtherConfig: map[string]string{"disable-in-band": "true"},
	})
	if err != nil {
		return fmt.Errorf("bridge %s: %w", render.Bridge, err)
	}
	side := render.HostSide(s)
	gateway := db.PortSpec{
		Name: render.GatewayDevice, Type: "internal", OFPortRequest: int(flows.PortGateway),
		MAC: side.Gateway.MAC, MTURequest: side.Gateway.MTU,
	}
	tunnel := db.PortSpec{
		Name: render.TunnelDevice, Type: render.Encapsulation(s.Config), OFPortRequest: int(flows.PortTunnel),
		Options: map[string]string{"remote_ip": "flow", "key": "flow", "local_ip": render.TunnelLocalIP(s)},
	}
	for _, port := range []db.PortSpec{gateway, tunnel} {
		c, err := ovsdb.EnsurePort(ctx, render.Bridge, port, db.BridgeNote{})
		if err != nil {
			return fmt.Errorf("port %s of bridge %s: %w", port.Name, render.Bridge, err)
		}
		changed = changed || c
	}
	c, err := ovsdb.EnsureTimeouts(ctx, s.Facts.Datapath, zoneTimeouts)
	if err != nil {
		return err
	}
	changed = changed || c
	if changed {
		a.log.Info("bridge changed", "bridge", render.Bridge, "datapath", s.Facts.Datapath, "why", s.Facts.DatapathReason)
		if err := ovsdb.WaitApplied(ctx); err != nil {
			return fmt.Errorf("bridge %s: %w", render.Bridge, err)
		}
		poke(a.hostKicks)
	}
	return nil
}
