package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Kill ends a daemon of a node with SIGKILL, as a crash would, and returns when
// it is gone. Until Start it stays away.
func (l *Lab) Kill(ctx context.Context, node string, d Daemon) error {
	return l.endDaemon(ctx, node, d, "killed", host.kill)
}

// StopAgent ends a node's agent with SIGTERM, as its supervisor does, and returns when
// it is gone. Until Start it stays away.
func (l *Lab) StopAgent(ctx context.Context, node string) error {
	return l.endDaemon(ctx, node, Agent, "stopped", func(h host, ctx context.Context, _ Daemon) error {
		if err := h.agentProcess().end(ctx, unix.SIGTERM); err != nil {
			return fmt.Errorf("node %s: stop the agent: %w", h.name, err)
		}
		return nil
	})
}

// endDaemon ends one of a node's daemons and says so.
func (l *Lab) endDaemon(ctx context.Context, node string, d Daemon, how string, end func(host, context.Context, Daemon) error) error {
	s, h, err := l.beginAt(ctx, node)
	if err != nil {
		return err
	}
	defer s.end()
	// Written down before, so that whoever waits for the agent learns why.
	s.state.node(node).setKilled(d, true)
	if err := s.save(); err != nil {
		return err
	}
	pid := h.pid(d)
	if err := end(h, ctx, d); err != nil {
		return err
	}
	if pid == 0 {
		l.out.printf("node %s: %s was not running", node, d)
	} else {
		l.out.printf("node %s: %s (process %d) %s", node, d, pid, how)
	}
	return nil
}

// Start starts a daemon that does not run, after Kill or because it ended by
// itself, and returns when it serves. With ovs-vswitchd the node's underlay comes
// back; with the agent, pods on the node that wait to be plugged in.
func (l *Lab) Start(ctx context.Context, node string, d Daemon) error {
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	s, h, err := l.beginAt(ctx, node)
	if err != nil {
		return err
	}
	defer s.end()
	running := h.pid(d) != 0
	if err := h.start(ctx, d); err != nil {
		return err
	}
	s.state.node(node).setKilled(d, false)
	if err := s.save(); err != nil {
		return err
	}
	if running {
		l.out.printf("node %s: %s is already running (process %d)", node, d, h.pid(d))
	} else {
		l.out.printf("node %s: %s started (process %d)", node, d, h.pid(d))
	}
	if d != Agent {
		return nil
	}
	if err := h.awaitAgent(ctx); err != nil {
		return err
	}
	return s.runPods(ctx, func(pod *podState) bool { return pod.Node == node })
}

// awaitAgent returns when the agent answers on its socket.
func (h host) awaitAgent(ctx context.Context) error {
	return await(ctx, "the agent of node "+h.name, func(ctx context.Context) error {
		if h.pid(Agent) == 0 {
			return errors.New("it has ended; the end of its log is\n" + indent(h.logTail(Agent, 5)))
		}
		_, err := h.agentStatus(ctx)
		return err
	})
}

// beginAt begins a session that is about one node.
func (l *Lab) beginAt(ctx context.Context, node string) (*session, host, error) {
	s, err := l.begin(ctx)
	if err != nil {
		return nil, host{}, err
	}
	if s.state.node(node) == nil {
		s.end()
		return nil, host{}, s.state.unknownNode(node)
	}
	return s, s.host(node), nil
}

// unknownNode says which nodes there are.
func (s *state) unknownNode(name string) error {
	var names []string
	for _, node := range s.Nodes {
		names = append(names, node.Name)
	}
	return fmt.Errorf("there is no node %q: the nodes are %s", name, strings.Join(names, ", "))
}

// LogFile is the file that a node's daemon writes to.
func (l *Lab) LogFile(node string, d Daemon) (string, error) {
	s, err := l.places.loadState()
	if err != nil {
		return "", err
	}
	if s.node(node) == nil {
		return "", s.unknownNode(node)
	}
	return l.places.host(s, node).logFile(d), nil
}
