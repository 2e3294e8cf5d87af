package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/sluice-cni/sluice/agent/plugging"
	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// The rhythm of passes beside those asked for: at each tick a look at what has no notification; now and then
// at one part of the switch's flows, which takes some ms; and a full look at OVSDB.
const (
	tick     = time.Second / 2
	lookPart = 2 * time.Second
	look     = 10 * time.Second
	// passBound is the longest that one pass may take.
	passBound = 30 * time.Second
)

// passLoop makes passes, one at a time, whenever something may have changed.
func (a *Agent) passLoop(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var looked, lookedAtPart time.Time
	var drifted, ticked bool
	for {
		how := reconcile.Trust
		switch {
		case drifted:
			how = reconcile.LookAtAll
		case ticked && time.Since(lookedAtPart) >= lookPart:
			how, lookedAtPart = reconcile.LookAtPart, time.Now()
		case ticked:
			how = reconcile.LookAtGroups
		}
		whole := drifted || time.Since(looked) >= look
		if whole {
			a.dbChanged.Store(true)
		}
		if a.onePass(ctx, how) == nil && whole {
			looked = time.Now()
		}
		drifted, ticked = false, false
		select {
		case <-ctx.Done():
			return nil
		case <-a.kicks:
		case <-a.src.Changed():
		case <-a.rec.Lost():
		case <-a.rec.Drifted():
			drifted = true
		case <-ticker.C:
			ticked = true
		}
	}
}

// onePass looks at everything, renders, applies, and tells those who wait.
func (a *Agent) onePass(ctx context.Context, look reconcile.Look) error {
	ctx, cancel := context.WithTimeout(ctx, passBound)
	defer cancel()
	a.mu.Lock()
	last, number := a.pass, a.want
	a.mu.Unlock()
	p := passResult{
		number: number, snapshot: a.input(), state: last.state, result: last.result,
		hostSide: last.hostSide, installed: last.installed, since: last.since, problems: last.problems,
		gone: last.gone,
	}
	if len(p.snapshot.Errors) > 0 {
		if p.doubted = last.doubted; p.doubted.IsZero() {
			p.doubted = time.Now()
		}
	}
	p.err = a.apply(ctx, &p, look)
	a.recMu.Lock()
	p.flows, p.repaired, p.connection = a.rec.Installed(), a.rec.Repaired(), a.rec.Connection()
	p.connected = a.rec.Connected()
	a.recMu.Unlock()
	a.tell(last, p)
	a.conflicts.stand(p.state, p.result.Conflicts)
	a.mu.Lock()
	if p.err == nil {
		settled := a.neighbours.settled(p.state, p.connection)
		if !settled {
			poke(a.neighbours.kicks)
		}
		a.kickHost(p.hostSide, p.connection != last.connection)
		if p.connection != last.connection {
			a.discovery.Kick()
		}
		a.hostSide = p.hostSide
		// In force is what all parts of the node have: flows, host, tunnel neighbours.
		if p.installed != p.snapshot.Version && a.hostDone == p.hostSide.text && settled {
			p.installed, p.since = p.snapshot.Version, time.Now()
			poke(a.memory.kicks)
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
	if p.err == nil {
		a.tellAddresses(last, p)
	}
}

// tellAddresses logs when this node begins to have no addresses for pods, and when it
// has some.
func (a *Agent) tellAddresses(last, p passResult) {
	before, known := last.state.Self()
	now, _ := p.state.Self()
	had, has := len(before.PodCIDRs) > 0, len(now.PodCIDRs) > 0
	switch {
	case known && had == has && last.err == nil:
	case !has:
		a.log.Error("this node cannot serve pods", "error", plugging.NoPodCIDR(a.cfg.Node))
	case known && !had:
		a.log.Info("this node has pod addresses", "podCIDRs", prefixes(now.PodCIDRs))
	}
}

// apply is the pass itself. It leaves in p what it found.
func (a *Agent) apply(ctx context.Context, p *passResult, look reconcile.Look) error {
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
	s := p.snapshot.Objects.Within(state.State{Node: a.cfg.Node, Config: a.cfg.Cluster})
	// Cleared first: what changes from here on is for another pass.
	ask := a.dbChanged.Swap(false) || p.state.Node == ""
	if err := a.lookAtOVSDB(ctx, ovsdb, &s, p, ask); err != nil {
		a.dbChanged.Store(true)
		return err
	}
	s.Attachments = a.plugger.Attachments()
	s.Pods = a.kept.pods(s.Pods, s.Attachments)
	p.gone = a.kept.gone
	if !sameState(s, p.state) {
		before := p.result.Set
		if p.hostSide.text == "" || !sameForHost(s, p.state) {
			p.hostSide = newHostSide(s)
		}
		p.state, p.result = s, a.renderer.Render(s)
		a.bindsAnew = max(a.bindsAnew, bindsOtherwise(before, p.result.Set))
		a.servicesAnew = true
	}
	a.recallForget(ovsdb)
	a.services = p.result.Services
	a.recMu.Lock()
	err = a.rec.Apply(ctx, p.result.Set, look)
	p.refused = a.rec.Refused()
	connection := a.rec.Connection()
	a.recMu.Unlock()
	if err != nil {
		return err
	}
	a.judgeForget(s.Facts.Datapath, p.result.Services)
	a.purger.kick(s.Facts.Datapath, a.bindsAnew)
	a.bindsAnew = nothingAnew
	return a.restore.keep(ctx, ovsdb, connection, arms(s.Facts, ovsdb))
}

// sameState tells whether two states are the same, without looking into the cluster's
// objects: those that a source has not touched it gives out again.
func sameState(a, b state.State) bool {
	objects := flows.SameSlice(a.Namespaces, b.Namespaces) && flows.SameSlice(a.Nodes, b.Nodes) && flows.SameSlice(a.Pods, b.Pods) &&
		flows.SameSlice(a.NetworkPolicies, b.NetworkPolicies) && flows.SameSlice(a.Services, b.Services) && flows.SameSlice(a.EndpointSlices, b.EndpointSlices)
	var none source.Objects
	return objects && reflect.DeepEqual(none.Within(a), none.Within(b))
}

// sameForHost is sameState but for what changes most often and is no matter to the host's side.
func sameForHost(a, b state.State) bool {
	a.EndpointSlices, a.NetworkPolicies, a.Namespaces = b.EndpointSlices, b.NetworkPolicies, b.Namespaces
	return sameState(a, b)
}
