package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/state"
)

// memory is the last input that was in force, in a file beside the sockets: an agent
// that starts while its source is away goes on with what its predecessor knew. The
// file is gone after a reboot, as are the pods.
type memory struct {
	path string
	// kicks tells that another input is in force.
	kicks chan struct{}
	// kept is the version in the file, texts what is in it.
	kept  string
	texts objectTexts
	// recalled is set once the file has been looked for.
	recalled bool
	last     *remembered
	err      error
	// good is the last input that could be right. It is the pass loop's.
	good *remembered
}

// input is what the source knows, or what is known from before: while a starting agent's
// source says nothing yet, and where what it says cannot be right. A list without this very
// node (an API server that is being restored, a directory that is not mounted) is no
// evidence that nothing is there. It is called by the pass loop alone.
func (a *Agent) input() source.Snapshot {
	s, m := a.src.Snapshot(), a.memory
	switch {
	case s.Synced && a.knowsSelf(s.Objects):
		m.good = &remembered{Version: s.Version, Objects: s.Objects}
		return s
	case s.Synced && m.good != nil:
		return a.instead(s, *m.good)
	case s.Synced:
		if m.recall(); m.last != nil && a.knowsSelf(m.last.Objects) {
			return a.instead(s, *m.last)
		}
		return s // the pass says what is wrong
	case time.Since(a.started) < recallAfter:
		return s
	}
	if m.recall() && m.last != nil {
		a.log.Warn("the source says nothing yet: going on with the last input that was in force", "source", a.src.String())
	}
	if m.err != nil {
		s.Errors = append(s.Errors, m.err.Error())
	}
	if m.last != nil {
		s.Objects, s.Version, s.Synced = m.last.Objects, m.last.Version, true
		s.Errors = append(s.Errors, a.src.String()+" could not be read since the agent started")
	}
	return s
}

func (a *Agent) knowsSelf(o source.Objects) bool {
	return slices.ContainsFunc(o.Nodes, func(n state.Node) bool { return n.Name == a.cfg.Node })
}

// instead is the snapshot with objects that are known from before.
func (a *Agent) instead(s source.Snapshot, r remembered) source.Snapshot {
	s.Objects, s.Version = r.Objects, r.Version
	s.Errors = append(slices.Clip(s.Errors), fmt.Sprintf("there is no Node object named %q any more in %s", a.cfg.Node, a.src))
	return s
}

// remembered is the file's content.
type remembered struct {
	Version string         `json:"version"`
	Objects source.Objects `json:"objects"`
	// Gone are the pods without an object that are plugged in here, as they were.
	Gone []state.Pod `json:"gone,omitempty"`
}

const (
	// recallAfter is how long a starting agent waits for its source before it goes on
	// with what it remembers.
	recallAfter = 2 * time.Second
	// rememberPause is the least time between two writes of the file, and
	// rememberShare bounds what they cost: the time of one to the time between two. But what an agent that
	// starts does not know, it takes away: no machine is so slow that the file may be older than rememberMost.
	rememberPause = 100 * time.Millisecond
	rememberShare = 100
	rememberMost  = time.Second
)

func newMemory(dir string) *memory {
	return &memory{path: filepath.Join(dir, "last-input.json"), kicks: make(chan struct{}, 1), texts: objectTexts{}}
}

// recall looks for the file once, and tells whether it did so now.
func (m *memory) recall() bool {
	if m.recalled {
		return false
	}
	m.recalled = true
	m.last, m.err = m.read()
	return true
}

// read reads the file; nil where there is none.
func (m *memory) read() (*remembered, error) {
	data, err := os.ReadFile(m.path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	r := &remembered{}
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if err != nil {
		return nil, fmt.Errorf("the last input in %s cannot be read: %w", m.path, err)
	}
	return r, nil
}

// pods are those that were known last when the file was written; none if it cannot be read.
func (m *memory) pods() []state.Pod {
	r, err := m.read()
	if err != nil || r == nil {
		return nil
	}
	return slices.Concat(r.Gone, r.Objects.Pods)
}

// remember writes the file anew if the version is another.
func (m *memory) remember(r remembered) error {
	if r.Version == m.kept {
		return nil
	}
	tmp := m.path + ".new"
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		err = errors.Join(m.texts.writeRemembered(file, r), file.Close())
	}
	if err == nil {
		err = os.Rename(tmp, m.path)
	}
	if err != nil {
		return fmt.Errorf("remember the input: %w", err)
	}
	m.kept = r.Version
	return nil
}

// memoryLoop remembers the input that is in force.
func (a *Agent) memoryLoop(ctx context.Context) error {
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.memory.kicks:
		}
		a.mu.Lock()
		p := a.pass
		a.mu.Unlock()
		if p.installed == "" || p.installed != p.snapshot.Version {
			continue
		}
		began := time.Now()
		if err := a.memory.remember(remembered{p.installed, p.snapshot.Objects, p.gone}); err != nil && err.Error() != said {
			said = err.Error()
			a.log.Warn("an agent that starts while its source is away will know nothing", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(rememberMost, max(rememberPause, rememberShare*time.Since(began)))):
		}
	}
}
