package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-cni/sluice/agent/forget"
	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/ovs/appctl"
	"github.com/sluice-cni/sluice/ovs/conntrack"
	"github.com/sluice-cni/sluice/ovs/db"
)

// settleBound is the longest that cached flows are waited for.
const settleBound = 5 * time.Second

// noteBound is the longest that the host's rules wait for a note in OVSDB.
const noteBound = 2 * time.Second

// beforeChange notes what is to be forgotten once the switch is changed.
func (a *Agent) beforeChange(ctx context.Context, was, now []*render.Owned) error {
	gone := forget.Gone(was, now, a.services)
	if len(gone) == 0 {
		return nil
	}
	return a.forgets.Owe(ctx, gone)
}

// beforeHostPorts notes what the host is to forget once its ports lead elsewhere. They do so in any
// case: OVSDB may be away.
func (a *Agent) beforeHostPorts(ctx context.Context, leaving, coming []render.HostPort) {
	local, err := host.LocalAddresses()
	if gone := forget.HostPorts(leaving, coming, local); len(gone) > 0 {
		ctx, cancel := context.WithTimeout(ctx, noteBound)
		defer cancel()
		err = errors.Join(err, a.forgets.Owe(ctx, gone))
	}
	if err != nil {
		a.log.Warn("UDP clients of host ports may be served late", "error", err)
	}
}

// recallForget takes over what an agent before this one did not come to forget.
func (a *Agent) recallForget(ovsdb *db.Client) {
	if a.forgets.Recalled() { // a copy of the row would cost each pass as much as all that it notes
		return
	}
	if b, ok := ovsdb.Bridge(render.Bridge); ok {
		a.forgets.Recall(b.ExternalIDs[forget.Key])
	}
}

// judgeForget decides what is to be forgotten now, as the flows are in force.
func (a *Agent) judgeForget(datapath string, services service.Result) {
	if !a.servicesAnew && !a.forgets.Fresh() {
		return
	}
	a.mu.Lock()
	a.tracks = datapath
	a.mu.Unlock()
	a.servicesAnew = false
	a.forgets.Judge(func(list []conntrack.Match) map[conntrack.Match]forget.Verdict {
		return forget.Verdicts(list, services)
	})
}

// noteForget keeps in OVSDB what is to be forgotten.
func (a *Agent) noteForget(ctx context.Context, note string) error {
	ovsdb, err := a.ovsdb()
	if err != nil {
		return err
	}
	change := db.BridgeNote{Set: map[string]string{forget.Key: note}}
	if note == "" {
		change = db.BridgeNote{Remove: []string{forget.Key}}
	}
	return ovsdb.NoteBridge(ctx, render.Bridge, change)
}

// cachedFlowsSettle returns when the datapath's cached flows are those of the tables. The userspace
// datapath's are thrown away: see purger.
func (a *Agent) cachedFlowsSettle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleBound)
	defer cancel()
	command := "revalidator/wait"
	if a.datapathType() == "netdev" {
		command = "revalidator/purge"
	}
	if _, err := a.purger.ovs.Call(ctx, command); err != nil && ctx.Err() == nil {
		a.log.Warn("cached flows are left to the revalidator", "error", fmt.Errorf("%s: %w", command, err))
	}
}

// tracker is who tracks the connections of a zone: the host's own kernel those of zone 0, the bridge's
// datapath all others.
func (a *Agent) tracker(zone uint16) conntrack.Table {
	if zone == 0 {
		return conntrack.Kernel{}
	}
	return conntrack.Of(a.datapathType(), appctl.Client{RunDir: a.cfg.OVSRunDir})
}

// datapathType is the bridge's whose connections are judged.
func (a *Agent) datapathType() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tracks
}
