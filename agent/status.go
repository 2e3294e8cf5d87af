package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/agent/plugging"
	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// State implements api.Agent.
func (a *Agent) State() state.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pass.state
}

// Status implements api.Agent.
func (a *Agent) Status() api.Status {
	ovsdb, dbErr := a.ovsdb()
	a.mu.Lock()
	p, hostErr, hostDone, repairs := a.pass, a.hostErr, a.hostDone != "", a.repairs
	deaf, quarrels := a.deaf, a.quarrels
	a.mu.Unlock()
	if p.err == nil {
		p.err = dbErr // the passes do not know yet
	}
	s := p.state
	out := api.Status{
		Node: a.cfg.Node, Version: a.cfg.Version, Started: a.started,
		Bridge: api.BridgeStatus{Name: render.Bridge, Datapath: s.Facts.Datapath, Why: s.Facts.DatapathReason, Connected: dbErr == nil && p.connected},
		Tunnel: api.TunnelStatus{
			Encapsulation: render.Encapsulation(a.cfg.Cluster), LocalAddress: text(s.Facts.TunnelAddress),
			OtherLocalAddress: text(s.Facts.OtherTunnelAddress),
			Device:            s.Facts.UnderlayDevice, DeviceMTU: s.Facts.UnderlayMTU,
		},
		Input: api.InputStatus{
			Source: a.src.String(), Seen: p.snapshot.Seen, Installed: p.installed, Errors: p.snapshot.Errors, Since: p.since, UnreadableSince: p.doubted,
		},
		Flows: api.FlowStatus{Desired: p.result.Len(), Installed: p.flows, Repaired: p.repaired},
		Host:  api.HostSideStatus{Repaired: repairs},
		MTU:   render.MTU(s),
	}
	problem := func(format string, args ...any) { out.Problems = append(out.Problems, fmt.Sprintf(format, args...)) }
	for _, e := range p.snapshot.Errors {
		problem("input: %s; the last good state stays in force", e)
	}
	if indirect := a.apiServerByService(s.Services); indirect != "" {
		problem("%s", indirect)
	}
	if p.err != nil {
		out.Flows.Error = p.err.Error()
		problem("flows: %v", p.err)
	}
	for _, r := range p.refused {
		problem("flows: %v", r)
	}
	if deaf != "" {
		problem("%s", deaf)
	}
	if hostErr != nil {
		out.Host.Error = hostErr.Error()
		problem("host: %v", hostErr)
	}
	for _, q := range quarrels {
		problem("host: somebody else keeps changing it: it was put right %d times within minutes: %s; find who does (NetworkManager, udev, a script) and stop it",
			host.QuarrelTimes, q)
	}
	self, known := s.Self()
	if known && len(self.PodCIDRs) == 0 {
		problem("%s", plugging.NoPodCIDR(a.cfg.Node))
	}
	for _, end := range s.Facts.Tunnels() {
		if elsewhere := firstElsewhere(self, s.Facts, end); elsewhere != "" {
			problem("%s", elsewhere)
		}
	}
	out.Problems = append(out.Problems, p.problems...)
	out.Problems = append(out.Problems, render.Problems(s)...)
	for _, c := range p.result.Conflicts {
		problem("%s", c)
	}
	if untold := a.conflicts.Problem(); untold != "" {
		problem("events: %s", untold)
	}
	if owed := a.forgets.Problem(); owed != "" {
		problem("conntrack: connections to backends that have gone are not forgotten: %s", owed)
	}
	out.Ready = p.err == nil && !crippled(p.refused) && hostDone && deaf == "" && known && len(self.PodCIDRs) > 0
	out.PodCIDRs = prefixes(self.PodCIDRs)
	for _, n := range s.Nodes {
		if n.Name != a.cfg.Node {
			out.Peers = append(out.Peers, api.PeerStatus{
				Node: n.Name, Address: text(render.TunnelAddress(n, s)), PodCIDRs: prefixes(n.PodCIDRs),
			})
		}
	}
	if ovsdb != nil {
		out.Bridge.RestoreWait = restoreState(ovsdb.OpenvSwitchOtherConfig()[restoreWait] != "", arms(s.Facts, ovsdb))
		out.Bridge.OVSVersion = a.ovsVersion(ovsdb)
		out.Ports = a.ports(ovsdb)
	}
	return out
}

// firstElsewhere says what is wrong if other nodes send their tunnels to an address that
// is not this machine's: they take the first of a family. End is the one that is.
func firstElsewhere(self state.Node, f state.Facts, end netip.Addr) string {
	i := slices.IndexFunc(self.Addresses, func(a netip.Addr) bool { return a.Is4() == end.Is4() })
	if i < 0 || self.Addresses[i] == end {
		return ""
	}
	device := "this machine"
	if end == f.TunnelAddress {
		device = f.UnderlayDevice
	}
	return fmt.Sprintf("the Node's first InternalIP %s is on no device of this machine, and other nodes send their tunnels there; "+
		"of %v the first that is here is %s, on %s: put it first in status.addresses (kubelet's --node-ip)",
		self.Addresses[i], self.Addresses, end, device)
}

// crippled tells whether something is refused that no pod can do without.
func crippled(refused []reconcile.RefusedError) bool {
	return slices.ContainsFunc(refused, func(r reconcile.RefusedError) bool {
		return r.Owner.Kind == flows.OwnerPipeline || r.Owner.Kind == flows.OwnerGateway
	})
}

// ovsVersion is what distributions write into OVSDB, or what the daemon itself says.
func (a *Agent) ovsVersion(ovsdb *db.Client) string {
	if v := ovsdb.Server().OVSVersion; v != "" {
		return v
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	text, err := a.neighbours.ovs.Call(ctx, "version")
	if err != nil {
		return ""
	}
	// "ovs-vswitchd (Open vSwitch) 3.1.0"
	return text[strings.LastIndexByte(strings.TrimSpace(text), ' ')+1:]
}

// ports are all ports of the bridge but its own.
func (a *Agent) ports(ovsdb *db.Client) []api.PortStatus {
	pods := map[string]state.Attachment{}
	for _, l := range a.plugger.Leases() {
		pods[l.Port] = l.Attachment
	}
	var out []api.PortStatus
	for _, p := range ovsdb.Ports(render.Bridge) {
		s := api.PortStatus{Name: p.Name, OFPort: p.OFPort, Kind: "foreign", Error: p.Error, MAC: p.MACInUse}
		pod, isPod := pods[p.Name]
		switch {
		case p.Name == render.Bridge:
			continue
		case p.Name == render.GatewayDevice:
			s.Kind = "gateway"
		case p.Name == render.TunnelDevice:
			s.Kind, s.MAC = "tunnel", ""
		case isPod:
			s.Kind, s.MAC, s.Network, s.ContainerID, s.IfName = "pod", pod.MAC, pod.Network, pod.ContainerID, pod.IfName
			if pod.PodName != "" {
				s.Pod = pod.PodNamespace + "/" + pod.PodName
			}
			for _, addr := range pod.Addresses {
				s.Addresses = append(s.Addresses, addr.String())
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b api.PortStatus) int { return cmp.Compare(a.OFPort, b.OFPort) })
	return out
}

// Flows implements api.Agent.
func (a *Agent) Flows(ctx context.Context) ([]api.Flow, error) {
	a.mu.Lock()
	result := a.pass.result
	a.mu.Unlock()
	owners := result.Owners()
	a.recMu.Lock()
	entries, err := a.rec.Dump(ctx)
	a.recMu.Unlock()
	if err != nil {
		return nil, err
	}
	list := make([]flows.Flow, 0, len(entries))
	stats := make(map[flows.Key]flows.Stats, len(entries))
	var out []api.Flow
	for _, e := range entries {
		if e.Strange != "" {
			out = append(out, api.Flow{
				Table: int(e.Flow.Table), Priority: int(e.Flow.Priority), Text: e.Strange,
				Packets: e.Stats.Packets, Bytes: e.Stats.Bytes, Owner: "somebody else",
			})
			continue
		}
		list = append(list, e.Flow)
		stats[e.Flow.Key()] = e.Stats
	}
	flows.Sort(list)
	for _, f := range list {
		s := stats[f.Key()]
		info := api.Flow{
			Table: int(f.Table), Priority: int(f.Priority), Text: f.String(), Packets: s.Packets, Bytes: s.Bytes,
			Cookie: f.Cookie.String(), Owner: "somebody else", Drops: len(f.Actions) == 0,
		}
		if o, ok := owners[f.Cookie.Owner()]; ok {
			info.Owner, info.Rule = o.String(), f.Cookie.Words()
		}
		out = append(out, info)
	}
	return out, nil
}

// Groups implements api.Agent.
func (a *Agent) Groups(ctx context.Context) (map[uint32]map[uint32]uint64, error) {
	a.recMu.Lock()
	defer a.recMu.Unlock()
	return a.rec.GroupPackets(ctx)
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func prefixes(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}
