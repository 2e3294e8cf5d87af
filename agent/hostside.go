package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-cni/sluice/agent/forget"
	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
)

// The rhythm of the host's side: notifications are taken together, and rules are looked
// at now and then even without.
const (
	hostPause = 50 * time.Millisecond
	rulesLook = 3 * time.Second
)

// hostSide is what the host must hold, and its text, by which two are compared: made once
// for each state, as a pass must cost little where nothing has changed. It is empty
// before the first. Of the cables, which come and go with the pods, nothing is in it.
type hostSide struct {
	render.Host
	text string
}

func newHostSide(s state.State) hostSide {
	h := render.HostSide(s)
	rest := h
	rest.Cables = nil
	return hostSide{h, rest.String()}
}

// kickHost asks for a look at what of the host's side is no longer what it was. The
// cables that come and go with pods are looked at alone.
func (a *Agent) kickHost(now hostSide, anew bool) {
	switch {
	case now.text != a.hostSide.text || anew:
		poke(a.hostKicks)
	case !slices.Equal(now.Cables, a.hostSide.Cables):
		a.cables.Note()
	}
}

// SyncHost implements plugging.Node.
func (a *Agent) SyncHost(ctx context.Context) error {
	for {
		a.mu.Lock()
		done, err, told := a.hostDone == a.hostSide.text, a.hostErr, a.hostTold
		a.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-told:
		case <-ctx.Done():
			if err == nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("waited for the host's own side: %w", err)
		}
	}
}

// MissingHostPort implements plugging.Node.
func (a *Agent) MissingHostPort(ctx context.Context, at state.Attachment) (string, error) {
	a.mu.Lock()
	want, conflicts := a.hostSide.Rules.HostPorts, a.pass.result.Conflicts
	a.mu.Unlock()
	of := claims.OfAttachment(at).Of
	for _, c := range conflicts {
		if c.On == claims.OnHostPort && c.Loser == of {
			return c.Key + " leads to it (it is " + c.Winner.String() + "'s)", nil
		}
	}
	have, err := host.InstalledHostPorts(ctx)
	if err != nil {
		return "", err
	}
	for _, h := range want {
		if slices.Contains(at.Addresses, h.To.Addr()) && !slices.Contains(have, h) {
			return h.OnNode() + " leads to " + h.To.String(), nil
		}
	}
	return "", nil
}

// hostLoop keeps the host's own side.
func (a *Agent) hostLoop(ctx context.Context) error {
	ticker := time.NewTicker(rulesLook)
	defer ticker.Stop()
	for {
		look, cables := false, false
		select {
		case <-ctx.Done():
			return nil
		case <-a.hostKicks:
		case <-a.cables.C:
			cables = true
		case <-a.ruleKicks:
			look = true
		case <-ticker.C:
			look = true
		}
		a.mu.Lock()
		want, done, last := a.hostSide, a.hostDone, a.hostErr
		a.mu.Unlock()
		if want.text == "" {
			continue
		}
		var err error
		if cables && done == want.text {
			if err = a.host.Tend(want.Cables, a.cables); err == nil {
				err = last // of what else there is
			}
		} else {
			if err = a.host.Apply(ctx, want.Host, look); err == nil {
				a.forgets.InForce(forget.HostZone)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && (last == nil || last.Error() != err.Error()) {
			a.log.Error("the host's side is not what it must be", "error", err)
		}
		a.mu.Lock()
		close(a.hostTold)
		a.hostTold = make(chan struct{})
		a.hostErr, a.repairs, a.quarrels = err, a.host.Repaired(), a.host.Quarrels()
		if err == nil && a.hostDone != want.text {
			a.hostDone = want.text
			a.kick() // the input may be in force now
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(hostPause):
		}
	}
}
