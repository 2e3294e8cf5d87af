package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/daemon"
)

// Daemon is one of the processes that make a node.
type Daemon string

// The daemons of a node.
const (
	Agent    Daemon = "agent"
	Vswitchd Daemon = "vswitchd"
	OVSDB    Daemon = "ovsdb"
)

// Daemons are all that a node has.
var Daemons = []Daemon{Agent, Vswitchd, OVSDB}

// ParseDaemon reads the name of a daemon.
func ParseDaemon(name string) (Daemon, error) {
	if d := Daemon(name); slices.Contains(Daemons, d) {
		return d, nil
	}
	return "", fmt.Errorf("unknown daemon %q: a node has agent, vswitchd and ovsdb", name)
}

const (
	agentExecutable = "sluice-agent"
	cniExecutable   = "sluice-cni"
	labExecutable   = "sluice-lab"
)

// host is a node of a lab as a machine: its places, namespace and daemons.
type host struct {
	nodePlaces
	lab   places
	name  string
	state *state
}

func (p places) host(s *state, name string) host {
	return host{p.node(name), p, name, s}
}

func (h host) netns() string { return h.lab.nodeNetns(h.name) }

func (h host) ovs() (*daemon.OVS, error) { return daemon.New(h.ovsDir(), h.netns()) }

// agentProcess is the node's sluice-agent.
func (h host) agentProcess() process {
	return process{
		file:  filepath.Join(h.dir, "agent"),
		log:   h.agentLog(),
		netns: h.netns(),
		argv: []string{
			filepath.Join(h.state.BinDir, agentExecutable),
			"--node", h.name,
			"--manifests", h.manifestsDir(),
			"--ovs-db", "unix:" + h.ovsdbSocket(),
			"--ovs-rundir", h.ovsDir(),
			"--run-dir", h.agentDir(),
			"--datapath", string(h.state.Datapath),
			"--log-level", "info",
		},
	}
}

// pid is a daemon's, 0 if it does not run.
func (h host) pid(d Daemon) int {
	if d == Agent {
		return h.agentProcess().pid()
	}
	ovs, err := h.ovs()
	if err != nil {
		return 0
	}
	pid, _ := ovs.PID(ovsDaemon(d))
	return pid
}

func ovsDaemon(d Daemon) daemon.Daemon {
	if d == OVSDB {
		return daemon.DB
	}
	return daemon.Vswitchd
}

// start starts a daemon that does not run, with what hangs on it.
func (h host) start(ctx context.Context, d Daemon) error {
	if err := h.startDaemon(ctx, d); err != nil {
		return fmt.Errorf("node %s: %w", h.name, err)
	}
	return nil
}

func (h host) startDaemon(ctx context.Context, d Daemon) error {
	if d == Agent {
		if agent := h.agentProcess(); agent.pid() == 0 {
			return agent.start(ctx)
		}
		return nil
	}
	ovs, err := h.ovs()
	if err != nil {
		return err
	}
	if d == OVSDB {
		if err := ovs.StartDB(ctx); err != nil {
			return err
		}
		return linkControlSocket(ovs, daemon.DB)
	}
	if err := ovs.StartVswitchd(ctx); err != nil {
		return err
	}
	if err := linkControlSocket(ovs, daemon.Vswitchd); err != nil {
		return err
	}
	return h.restoreUnderlay(ctx)
}

// linkControlSocket gives a daemon's control socket the name, with the process id
// in it, under which ovs-appctl looks for it if it is not told a path.
func linkControlSocket(ovs *daemon.OVS, d daemon.Daemon) error {
	pid, ok := ovs.PID(d)
	if !ok {
		return fmt.Errorf("%s has ended", d)
	}
	target := ovs.CtlSocket(d)
	base := filepath.Join(filepath.Dir(target), string(d))
	old, err := filepath.Glob(base + ".[0-9]*.ctl")
	if err != nil {
		return err
	}
	for _, link := range old {
		if err := os.Remove(link); err != nil {
			return err
		}
	}
	return os.Symlink(filepath.Base(target), fmt.Sprintf("%s.%d.ctl", base, pid))
}

// kill ends a daemon as a crash would.
func (h host) kill(ctx context.Context, d Daemon) error {
	var err error
	if d == Agent {
		err = h.agentProcess().end(ctx, unix.SIGKILL)
	} else {
		ovs, openErr := h.ovs()
		if err = openErr; err == nil {
			err = ovs.Kill(ovsDaemon(d))
		}
	}
	if err != nil {
		return fmt.Errorf("node %s: kill %s: %w", h.name, d, err)
	}
	return nil
}

// logFile is where a daemon writes.
func (h host) logFile(d Daemon) string {
	if d == Agent {
		return h.agentLog()
	}
	return filepath.Join(h.ovsDir(), string(ovsDaemon(d))+".log")
}

// logTail is the end of a daemon's log, for messages; empty if there is none.
func (h host) logTail(d Daemon, lines int) string {
	text, err := os.ReadFile(h.logFile(d))
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
