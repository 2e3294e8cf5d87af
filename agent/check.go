package agent

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-cni/sluice/agent/hazard"
	"github.com/sluice-cni/sluice/agent/invariant"
	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/agent/plugging"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/netns"
)

// checkAgain is how long after a first look the second one follows. What only the
// first finds was on its way: a cable takes the kernel some 30 ms to delete, a bundle
// some milliseconds to be in.
const checkAgain = 500 * time.Millisecond

// Check implements api.Agent: what is inconsistent on this node, and stays so.
func (a *Agent) Check(ctx context.Context) ([]invariant.Broken, error) {
	first, err := a.checkOnce(ctx)
	if err != nil || len(first) == 0 {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(checkAgain):
	}
	second, err := a.checkOnce(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(second, func(b invariant.Broken) bool { return !slices.Contains(first, b) }), nil
}

// Hazards implements api.Agent: what hurts on this machine and is not ours to change.
func (a *Agent) Hazards(ctx context.Context) []hazard.Hazard {
	a.mu.Lock()
	s := a.pass.state
	a.mu.Unlock()
	self, known := s.Self()
	if !known {
		return nil // status says why
	}
	n := hazard.Node{
		Gateway: render.GatewayDevice, Underlay: s.Facts.UnderlayDevice, Kernel: s.Facts.Datapath == "system",
		Tunnel: s.Facts.TunnelAddress, TunnelPort: render.TunnelPort(render.Encapsulation(s.Config)), Pods: self.PodCIDRs,
		ConfDir: a.cfg.Install.ConfDir, Conf: filepath.Base(a.cfg.Install.FromConf),
	}
	for _, peer := range s.Nodes {
		if to := render.TunnelAddress(peer, s); peer.Name != s.Node && to.IsValid() {
			n.Peers = append(n.Peers, to)
		}
	}
	return hazard.Look(ctx, n)
}

func (a *Agent) checkOnce(ctx context.Context) ([]invariant.Broken, error) {
	ovsdb, err := a.ovsdb()
	if err != nil {
		return nil, err
	}
	underWay := a.plugger.UnderWay()
	ends, err := plug.HostEnds()
	if err != nil {
		return nil, err
	}
	seen := invariant.Seen{Namespaces: map[string]bool{}}
	for _, end := range ends {
		if !underWay[end.Name] {
			seen.Cables = append(seen.Cables, end.Name)
		}
	}
	seen.Bridges = ovsdb.Bridges()
	seen.Devices = a.plugger.LentDevices()
	rows, unreadable := plugging.Rows(ovsdb)
	seen.Rows = slices.DeleteFunc(rows, func(l lease.Lease) bool { return underWay[l.Port] })
	for _, l := range seen.Rows {
		if seen.Namespaces[l.NetNS], err = netns.Exists(l.NetNS); err != nil {
			return nil, err
		}
	}
	a.recMu.Lock()
	entries, err := a.rec.Dump(ctx)
	a.mu.Lock()
	desired := a.pass.result
	a.mu.Unlock()
	a.recMu.Unlock()
	if err != nil {
		return nil, err
	}
	seen.Desired = desired.Flows()
	for _, e := range entries {
		if e.Strange != "" {
			seen.Strange = append(seen.Strange, e.Strange)
		} else {
			seen.Installed = append(seen.Installed, e.Flow)
		}
	}
	broken := invariant.Check(seen)
	for _, p := range unreadable {
		broken = append(broken, invariant.Broken{What: p, Cure: "somebody wrote to the port's external_ids; delete the pod"})
	}
	for _, odd := range a.plugger.OddMTUs() {
		broken = append(broken, invariant.Broken{What: odd, Cure: "somebody has set another MTU in the pod: larger packets than the network carries get lost; set it there (ip link), or delete the pod"})
	}
	return broken, nil
}
