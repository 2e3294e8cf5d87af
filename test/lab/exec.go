package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/sluice-cni/sluice/ovs/netns"
)

// Spot is where a command can be run.
type Spot struct {
	// Netns is the path of the network namespace.
	Netns string
	// Env is what the environment has besides the caller's: OVS_RUNDIR and
	// SLUICE_AGENT_SOCKET on a node, so that Open vSwitch's own tools and sluicectl
	// speak to the node's switch and agent.
	Env []string
}

// Spot finds a pod, a node or the outside machine.
func (l *Lab) Spot(end Endpoint) (Spot, error) {
	s, err := l.places.loadState()
	if err != nil {
		return Spot{}, err
	}
	at, err := s.find(l.places, newCluster(nil, nil), end)
	if err != nil {
		return Spot{}, err
	}
	if at.netns == "" {
		return Spot{}, fmt.Errorf("cannot run anything in %s: it is no pod, node or outside machine of the lab", end)
	}
	spot := Spot{Netns: at.netns}
	if at.ovsRunDir != "" {
		spot.Env = []string{"OVS_RUNDIR=" + at.ovsRunDir, "OVS_LOGDIR=" + at.ovsRunDir, "OVS_DBDIR=" + at.ovsRunDir, "SLUICE_AGENT_SOCKET=" + at.agentSocket}
	}
	return spot, nil
}

// Do runs fn on a thread that is in the spot's network namespace. Sockets that fn
// opens and processes that it starts stay there; goroutines that it starts are not.
func (s Spot) Do(fn func() error) error { return netns.Do(s.Netns, fn) }

// Exec runs a command in a pod, "node/NAME" or "outside" and returns what it
// wrote. The error wraps exec.ExitError if the command failed.
func (l *Lab) Exec(ctx context.Context, endpoint string, argv ...string) ([]byte, error) {
	end, err := ParseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	spot, err := l.Spot(end)
	if err != nil {
		return nil, err
	}
	var out []byte
	err = spot.Do(func() (err error) {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), spot.Env...)
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		return out, fmt.Errorf("run %q in %s: %w: %s", argv, end, err, out)
	}
	return out, nil
}
