package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// The rhythm of passes beside those asked for: a quick look at what has no
// notification, and a full look at the switch's tables.
const (
	tick = time.Second
	look = 10 * time.Second
	// passBound is the longest that one pass may take.
	passBound = 30 * time.Second
)

// passLoop makes passes, one at a time, whenever something may have changed.
func (a *Agent) passLoop(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var looked time.Time
	for {
		full := time.Since(looked) >= look
		if a.onePass(ctx, full) == nil && full {
			looked = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.kicks:
		case <-a.src.Changed():
		case <-a.rec.Lost():
		case <-ticker.C:
		}
	}
}

// onePass looks at everything, renders, applies, and tells those who wait.
func (a *Agent) onePass(ctx context.Context, full bool) error {
	ctx, cancel := context.WithTimeout(ctx, passBound)
	defer cancel()
	a.mu.Lock()
	last, number := a.pass, a.want
	a.mu.Unlock()
	p := passResult{
		number: number, snapshot: a.src.Snapshot(), state: last.state, result: last.result,
		installed: last.installed, since: last.since,
	}
	p.err = a.apply(ctx, &p, full)
	a.recMu.Lock()
	p.flows, p.repaired, p.connection = a.rec.Installed(), a.rec.Repaired(), a.rec.Connection()
	p.connected = a.rec.Connected()
	a.recMu.Unlock()
	a.tell(last, p)
	a.mu.Lock()
	if p.err == nil {
		poke(a.neighbours.kicks)
		side := render.HostSide(p.state)
		if !a.hostOK || side.String() != a.hostSide.String() || p.connection != last.connection {
			poke(a.hostKicks)
		}
		a.hostSide, a.hostOK = side, true
		// In force is what all parts of the node have: flows, host, tunnel neighbours.
		if p.installed != p.snapshot.Version && a.hostDone == side.String() && a.neighbours.settled(p.state, p.connection) {
			p.installed, p.since = p.snapshot.Version, time.Now()
		}
	}
	a.pass = p
	close(a.done)
	a.done = make(chan struct{})
	a.mu.Unlock()
	return p.err
}

// tell logs what an operator would want to know of a pass: when the node's flows
// stop being those of its state, and when they are again.
func (a *Agent) tell(last, p passResult) {
	switch {
	case p.err == nil && (last.err != nil || last.number == 0 && last.state.Node == ""):
		a.log.Info("this node's flows are those of its state", "flows", p.flows)
	case p.err == nil || last.err != nil && last.err.Error() == p.err.Error() || errors.Is(p.err, context.Canceled):
	case p.state.Node == "":
		a.log.Info("this node's flows are not in yet", "because", p.err)
	default:
		a.log.Error("this node's flows are not those of its state", "error", p.err)
	}
}

// apply is the pass itself. It leaves in p what it found.
func (a *Agent) apply(ctx context.Context, p *passResult, full bool) error {
	if !p.snapshot.Synced {
		if len(p.snapshot.Errors) > 0 {
			return fmt.Errorf("nothing is installed before the input can be read whole: %s", p.snapshot.Errors[0])
		}
		return fmt.Errorf("waiting for %s", a.src)
	}
	ovsdb, err := a.ovsdb()
	if err != nil {
		return err
	}
	s := state.State{
		Node: a.cfg.Node, Config: a.cfg.Cluster,
		Namespaces: p.snapshot.Objects.Namespaces, Nodes: p.snapshot.Objects.Nodes, Pods: p.snapshot.Objects.Pods,
	}
	if s.Facts, err = a.facts(s, ovsdb); err != nil {
		return err
	}
	if err := a.bridge(ctx, s, ovsdb); err != nil {
		return err
	}
	lost := a.attach.seen(func() []lease.Lease { return a.rows(ovsdb, p) })
	if time.Since(a.collected) >= tick {
		if err := a.collect(ctx, ovsdb, lost); err != nil {
			return err
		}
		a.collected = time.Now()
	}
	s.Attachments = states(a.attach.all())
	p.state = s
	p.result = render.Tables(s)
	a.recMu.Lock()
	defer a.recMu.Unlock()
	return a.rec.Apply(ctx, p.result.Flows, full)
}

// facts are this machine's circumstances.
func (a *Agent) facts(s state.State, ovsdb *db.Client) (state.Facts, error) {
	self, ok := s.Self()
	if !ok {
		return state.Facts{}, fmt.Errorf("there is no Node object named %q in %s: is --node right?", a.cfg.Node, a.src)
	}
	under, err := host.FindUnderlay(self.Addresses)
	if err != nil {
		return state.Facts{}, fmt.Errorf("node %q: %w", a.cfg.Node, err)
	}
	f := state.Facts{TunnelAddress: under.Address, UnderlayDevice: under.Device, UnderlayMTU: under.MTU}
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
			if p.Type == "" && p.Name != name {
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
		Protocols: []string{"OpenFlow10", "OpenFlow13", "OpenFlow15"}, TableNames: tableNames,
		OtherConfig: map[string]string{"disable-in-band": "true"},
	})
	if err != nil {
		return fmt.Errorf("bridge %s: %w", render.Bridge, err)
	}
	side := render.HostSide(s)
	gateway := db.PortSpec{
		Name: render.GatewayDevice, Type: "internal", OFPortRequest: int(gatewayPort),
		MAC: side.Gateway.MAC, MTURequest: side.Gateway.MTU,
	}
	tunnel := db.PortSpec{
		Name: render.TunnelDevice, Type: render.Encapsulation(s.Config), OFPortRequest: int(tunnelPort),
		Options: map[string]string{"remote_ip": "flow", "key": "flow", "local_ip": s.Facts.TunnelAddress.String()},
	}
	for _, port := range []db.PortSpec{gateway, tunnel} {
		c, err := ovsdb.EnsurePort(ctx, render.Bridge, port, db.BridgeNote{})
		if err != nil {
			return fmt.Errorf("port %s of bridge %s: %w", port.Name, render.Bridge, err)
		}
		changed = changed || c
	}
	if changed {
		a.log.Info("bridge changed", "bridge", render.Bridge, "datapath", s.Facts.Datapath, "why", s.Facts.DatapathReason)
		if err := ovsdb.WaitApplied(ctx); err != nil {
			return fmt.Errorf("bridge %s: %w", render.Bridge, err)
		}
		poke(a.hostKicks)
	}
	return nil
}

// rows are the attachments that OVSDB holds. A row that cannot be read is a problem
// and is left alone.
func (a *Agent) rows(ovsdb *db.Client, p *passResult) []lease.Lease {
	var out []lease.Lease
	for _, port := range ovsdb.Ports(render.Bridge) {
		l, ours, err := lease.Parse(port.Name, port.OFPort, port.ExternalIDs)
		switch {
		case err != nil:
			p.problems = append(p.problems, err.Error())
		case ours:
			out = append(out, l)
		}
	}
	return out
}

// collect puts OVSDB right by the one sure evidence, the cable itself: a lease whose
// cable has gone (its container's namespace has, or the machine was started anew) is
// freed; a row that somebody deleted under a cable that is still there is written again.
func (a *Agent) collect(ctx context.Context, ovsdb *db.Client, lost []lease.Lease) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	there := make(map[string]bool, len(links))
	for _, l := range links {
		there[l.Attrs().Name] = true
	}
	var errs []error
	for _, l := range lost {
		if !there[l.Port] {
			a.attach.gone(l.Key())
			continue
		}
		a.log.Warn("somebody deleted a pod's port; it is put back", "port", l.Port, "holder", l.Holder())
		err := ovsdb.AddPort(ctx, render.Bridge, portSpec(l), db.BridgeNote{})
		errs = append(errs, err)
	}
	for _, l := range a.attach.settled() {
		if there[l.Port] {
			continue
		}
		if !a.attach.tryLock(l.Key()) {
			continue // a verb is at work on it
		}
		a.log.Info("lease freed: its cable has gone", "holder", l.Holder(), "addresses", l.Addresses, "port", l.Port)
		_, err := ovsdb.DeletePort(ctx, render.Bridge, l.Port, freeing(l, time.Now()))
		if err == nil {
			a.attach.gone(l.Key())
		}
		a.attach.unlock(l.Key())
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// The rhythm of the host's side: notifications are taken together, and rules, which
// have none, are looked at now and then.
const (
	hostPause = 50 * time.Millisecond
	rulesLook = 3 * time.Second
)

// hostLoop keeps the host's own side.
func (a *Agent) hostLoop(ctx context.Context) error {
	ticker := time.NewTicker(rulesLook)
	defer ticker.Stop()
	for {
		look := false
		select {
		case <-ctx.Done():
			return nil
		case <-a.hostKicks:
		case <-ticker.C:
			look = true
		}
		a.mu.Lock()
		want, ok, last := a.hostSide, a.hostOK, a.hostErr
		a.mu.Unlock()
		if !ok {
			continue
		}
		err := a.host.Apply(ctx, want, look)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && (last == nil || last.Error() != err.Error()) {
			a.log.Error("the host's side is not what it must be", "error", err)
		}
		a.mu.Lock()
		a.hostErr, a.repairs = err, a.host.Repaired()
		if text := want.String(); err == nil && a.hostDone != text {
			a.hostDone = text
			a.kick() // the input may be in force now
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(hostPause):
		}
	}
}
