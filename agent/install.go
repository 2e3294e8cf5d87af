package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Install says what the agent puts where the container runtime looks for CNI plugins.
// The zero value puts nothing anywhere: then somebody else has.
type Install struct {
	// BinDir and ConfDir are the runtime's directories of plugins and of network
	// configurations.
	BinDir, ConfDir string
	// FromBinDir holds the plugins to put into BinDir: ours, and those that are
	// expected beside any, which are put there only where there is none of that name.
	FromBinDir string
	// FromConf is the network configuration to put into ConfDir, under its own name.
	FromConf string
}

// ourPlugin is the CNI type, and so the executable's name.
const ourPlugin = "sluice"

func (i Install) validate(bad func(string, ...any)) {
	if (i.BinDir == "") != (i.FromBinDir == "") {
		bad("--cni-bin-dir and --cni-bin-source: give both or neither")
	}
	if (i.ConfDir == "") != (i.FromConf == "") {
		bad("--cni-conf-dir and --cni-conf-source: give both or neither")
	}
}

// executables puts the plugins in place. It is done before anything else: a runtime
// that has the configuration of an earlier agent may run them at any time.
func (i Install) executables() error {
	if i.BinDir == "" {
		return nil
	}
	entries, err := os.ReadDir(i.FromBinDir)
	if err != nil {
		return fmt.Errorf("install CNI plugins: %w", err)
	}
	for _, e := range entries {
		target := filepath.Join(i.BinDir, e.Name())
		if _, err := os.Stat(target); err == nil && e.Name() != ourPlugin {
			continue
		}
		if _, err := installFile(filepath.Join(i.FromBinDir, e.Name()), target, 0o755); err != nil {
			return fmt.Errorf("install CNI plugin %s: %w", e.Name(), err)
		}
	}
	return nil
}

// The rhythm of looking whether the configuration can be put in place, and whether it
// still is.
const (
	installSoon = 100 * time.Millisecond
	installLook = 10 * time.Second
)

// installLoop puts the network configuration in place once the agent can serve: it is
// what makes the node Ready. From then on it stays, also while no agent runs: kubelet
// would have no network else, and pods of a node without the agent are told to wait.
func (a *Agent) installLoop(ctx context.Context) error {
	i := a.cfg.Install
	if i.ConfDir == "" {
		return nil
	}
	pause := installSoon
	said := ""
	for {
		if pause == installLook || a.plugger.Serving() == nil {
			changed, err := installFile(i.FromConf, filepath.Join(i.ConfDir, filepath.Base(i.FromConf)), 0o644)
			switch {
			case err != nil && err.Error() != said:
				a.log.Error("the CNI configuration is not in place", "error", err)
			case changed:
				a.log.Info("CNI configuration put in place", "file", filepath.Join(i.ConfDir, filepath.Base(i.FromConf)))
			}
			if said = ""; err != nil {
				said = err.Error()
			}
			pause = installLook
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// installFile makes target what source is, in one step: a reader, or a runtime that
// executes it, sees the old or the new one whole.
func installFile(source, target string, mode fs.FileMode) (changed bool, err error) {
	want, err := os.ReadFile(source)
	if err != nil {
		return false, err
	}
	have, err := os.ReadFile(target)
	if err == nil && bytes.Equal(have, want) {
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	part, err := os.CreateTemp(filepath.Dir(target), ".sluice-")
	if err != nil {
		return false, err
	}
	_, err = part.Write(want)
	// Synced, or a machine that loses power now may come up with an empty file of that name.
	err = errors.Join(err, part.Chmod(mode), part.Sync(), part.Close())
	if err == nil {
		err = os.Rename(part.Name(), target)
	}
	if err != nil {
		return false, errors.Join(err, os.Remove(part.Name()))
	}
	return true, nil
}
