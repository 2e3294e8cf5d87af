package agent

import (
	"context"
	"time"
)

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
