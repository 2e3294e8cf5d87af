package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-cni/sluice/agent/source"
)

// memory is the last input that was in force, in a file beside the sockets: an agent
// that starts while its source is away goes on with what its predecessor knew. The
// file is gone after a reboot, as are the pods.
type memory struct {
	path string
	// kicks tells that another input is in force.
	kicks chan struct{}
	// kept is the version in the file.
	kept string
	// recalled is set once the file has been looked for.
	recalled bool
	last     *remembered
	err      error
}

// input is what the source knows, or, while a starting agent's source knows nothing
// yet, what is remembered. It is called by the pass loop alone.
func (a *Agent) input() source.Snapshot {
	s := a.src.Snapshot()
	if s.Synced || time.Since(a.started) < recallAfter {
		return s
	}
	m := a.memory
	if !m.recalled {
		m.recalled = true
		if m.last, m.err = m.recall(); m.last != nil {
			a.log.Warn("the source says nothing yet: going on with the last input that was in force", "source", a.src.String())
		}
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

// remembered is the file's content.
type remembered struct {
	Version string         `json:"version"`
	Objects source.Objects `json:"objects"`
}

const (
	// recallAfter is how long a starting agent waits for its source before it goes on
	// with what it remembers.
	recallAfter = 2 * time.Second
	// rememberPause is the least time between two writes of the file, and
	// rememberShare bounds what they cost: the time of one to the time between two.
	rememberPause = 100 * time.Millisecond
	rememberShare = 20
)

func newMemory(dir string) *memory {
	return &memory{path: filepath.Join(dir, "last-input.json"), kicks: make(chan struct{}, 1)}
}

// recall reads the file; nil where there is none.
func (m *memory) recall() (*remembered, error) {
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

// remember writes the file anew if the version is another.
func (m *memory) remember(r remembered) error {
	if r.Version == m.kept {
		return nil
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp := m.path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("remember the input: %w", err)
	}
	if err := os.Rename(tmp, m.path); err != nil {
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
		if err := a.memory.remember(remembered{p.installed, p.snapshot.Objects}); err != nil && err.Error() != said {
			said = err.Error()
			a.log.Warn("an agent that starts while its source is away will know nothing", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(rememberPause, rememberShare*time.Since(began))):
		}
	}
}
