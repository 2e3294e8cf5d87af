package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// This file is what the agent is to package plugging: a plugging.Node.

// Name implements plugging.Node.
func (a *Agent) Name() string { return a.cfg.Node }

// OVSDB implements plugging.Node.
func (a *Agent) OVSDB() (*db.Client, error) { return a.ovsdb() }

// Kick implements plugging.Node.
func (a *Agent) Kick() { a.kick() }

// Sync implements plugging.Node.
func (a *Agent) Sync(ctx context.Context) error { return a.sync(ctx) }

// Refused implements plugging.Node.
func (a *Agent) Refused(attachment string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	owner := flows.Owner{Kind: flows.OwnerPod, Name: attachment}
	for _, r := range a.pass.refused {
		if r.Owner == owner {
			return r
		}
	}
	return nil
}

// Ready implements plugging.Node: what keeps an ADD may be better soon.
func (a *Agent) Ready() (*db.Client, state.State, error) {
	ovsdb, err := a.ovsdb()
	if err != nil {
		return nil, state.State{}, err
	}
	a.mu.Lock()
	p, hostDone, hostErr := a.pass, a.hostDone != "", a.hostErr
	a.mu.Unlock()
	switch {
	case p.err != nil:
		return nil, state.State{}, fmt.Errorf("this node's flows are not in place: %w", p.err)
	case crippled(p.refused):
		return nil, state.State{}, fmt.Errorf("this node's flows are not in place: %w", p.refused[0])
	case p.state.Node == "":
		return nil, state.State{}, errors.New("the agent is starting")
	case !hostDone && hostErr != nil:
		return nil, state.State{}, fmt.Errorf("this node's own routes and rules are not in place: %w", hostErr)
	case !hostDone:
		return nil, state.State{}, errors.New("the agent is starting: this node's own routes and rules are not in place yet")
	}
	return ovsdb, p.state, nil
}

// Pod implements plugging.Node.
func (a *Agent) Pod(namespace, name string) (p state.Pod, there, known bool) {
	s := a.src.Snapshot()
	known = s.Synced && len(s.Errors) == 0
	for _, p := range s.Objects.Pods {
		if p.Namespace == namespace && p.Name == name {
			return p, true, known
		}
	}
	return state.Pod{}, false, known
}

// KnowsAllPods implements plugging.Node.
func (a *Agent) KnowsAllPods() bool { return a.cfg.Manifests == "" }

// Missing implements plugging.Node.
func (a *Agent) Missing(ctx context.Context, at state.Attachment) (string, error) {
	owner := flows.Owner{Kind: flows.OwnerPod, Name: render.AttachmentName(at)}
	a.recMu.Lock()
	entries, err := a.rec.DumpOwner(ctx, owner)
	a.mu.Lock()
	set := a.pass.result.Set
	a.mu.Unlock()
	a.recMu.Unlock()
	if err != nil {
		return "", err
	}
	have := make(map[flows.Key]flows.Flow, len(entries))
	for _, e := range entries {
		have[e.Flow.Key()] = e.Flow
	}
	i, there := slices.BinarySearchFunc(set, owner, func(o *render.Owned, want flows.Owner) int { return flows.CompareOwners(o.Owner, want) })
	if !there {
		return "any flow for " + owner.String(), nil
	}
	for _, f := range set[i].Flows {
		if !have[f.Key()].Equal(f) {
			return f.String(), nil
		}
	}
	return "", nil
}

// Pods implements api.Agent.
func (a *Agent) Pods() []api.PodStatus { return a.plugger.Pods() }

// Metrics implements api.Agent.
func (a *Agent) Metrics(w io.Writer) error { return a.plugger.Metrics().Write(w) }

// Know implements plugging.Node. A source that cannot be asked knows all that it can.
func (a *Agent) Know(ctx context.Context, namespace, name, uid string) error {
	if src, ok := a.src.(source.Knower); ok {
		return src.Know(ctx, namespace, name, uid)
	}
	return nil
}
