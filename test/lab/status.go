package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/test/slow"
)

// statusPoll is how often agents are asked while a command waits for them.
const statusPoll = 20 * time.Millisecond

// statusBound is how long one answer may take.
var statusBound = slow.Bound(5 * time.Second)

// agentStatus asks the node's agent.
func (h host) agentStatus(ctx context.Context) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusBound)
	defer cancel()
	return api.NewClient(h.agentSocket()).Status(ctx)
}

// waiting is why a node's input is not in force.
type waiting struct {
	node string
	why  string
}

func (w *waiting) Error() string { return fmt.Sprintf("node %s: %s", w.node, w.why) }

// inForce tells, by a nil error, whether the agent has installed what is in the
// node's manifests directory now.
func (h host) inForce(ctx context.Context) error {
	if h.pid(Agent) == 0 {
		why := "its agent is not running"
		if tail := h.logTail(Agent, 5); tail != "" {
			why += "; the end of its log is\n" + indent(tail)
		}
		return &waiting{h.name, why}
	}
	status, err := h.agentStatus(ctx)
	if err != nil {
		return &waiting{h.name, fmt.Sprintf("its agent does not answer: %v", err)}
	}
	digest, err := manifests.Digest(h.manifestsDir())
	if err != nil {
		return &waiting{h.name, err.Error()}
	}
	var why string
	switch {
	case status.Input.Seen != digest:
		why = "its agent has not read the change yet"
	case status.Input.Installed != digest:
		why = "its agent has read the change and not installed it"
	default:
		return nil
	}
	if reasons := reasons(status); len(reasons) > 0 {
		why += ": " + strings.Join(reasons, "; ")
	}
	return &waiting{h.name, why}
}

// reasons is all that an agent says is wrong.
func reasons(status api.Status) []string {
	reasons := append([]string{}, status.Input.Errors...)
	reasons = append(reasons, status.Problems...)
	for _, text := range []string{status.Flows.Error, status.Host.Error} {
		if text != "" {
			reasons = append(reasons, text)
		}
	}
	return reasons
}

// await calls check until it returns nil. When ctx ends it returns the last
// error that check gave before, with what it waited for.
func await(ctx context.Context, what string, check func(context.Context) error) error {
	tick := time.NewTicker(statusPoll)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil && last != nil {
			err = last // this one may only tell that ctx has ended
		}
		last = err
		select {
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if errors.Is(cause, context.DeadlineExceeded) {
				return fmt.Errorf("waited too long for %s: %w", what, err)
			}
			return fmt.Errorf("wait for %s: %w (%w)", what, cause, err)
		case <-tick.C:
		}
	}
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }
