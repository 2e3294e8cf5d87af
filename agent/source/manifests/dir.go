package manifests

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/sluice-cni/sluice/agent/source"
)

// Dir is a directory of manifests as a source.Source.
type Dir struct {
	path    string
	log     *slog.Logger
	changed chan struct{}

	mu   sync.Mutex
	snap source.Snapshot
}

// NewDir watches the directory at path once Run runs. It need not exist yet.
func NewDir(path string, log *slog.Logger) *Dir {
	return &Dir{path: path, log: log, changed: make(chan struct{}, 1)}
}

// resync is how often the directory is read without being told of a change: a
// directory may appear, or be on a file system that tells nothing.
const resync = 2 * time.Second

// String implements source.Source.
func (d *Dir) String() string { return "manifests " + d.path }

// Changed implements source.Source.
func (d *Dir) Changed() <-chan struct{} { return d.changed }

// Snapshot implements source.Source.
func (d *Dir) Snapshot() source.Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.snap
}

// Run implements source.Source.
func (d *Dir) Run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", d.path, err)
	}
	defer watcher.Close()
	tick := time.NewTicker(resync)
	defer tick.Stop()
	for {
		// Adding again is how a directory that was replaced is found; it costs nothing
		// where nothing changed. Its absence is reported by the read.
		_ = watcher.Add(d.path)
		d.read()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case err := <-watcher.Errors:
			d.log.Warn("events about manifests were lost; the directory is read anew", "dir", d.path, "error", err)
		case <-watcher.Events:
			for len(watcher.Events) > 0 {
				<-watcher.Events
			}
		}
	}
}

// read takes the directory's content if it is new and readable whole.
func (d *Dir) read() {
	digest, err := Digest(d.path)
	last := d.Snapshot()
	if err == nil && digest == last.Seen {
		return
	}
	next := last
	next.Seen, next.Errors = digest, nil
	var content Content
	if err == nil {
		content, err = Read(d.path)
	}
	if err == nil {
		// What was read must be what the digest names, or both are tried again.
		var again string
		if again, err = Digest(d.path); err == nil && again != digest {
			d.read()
			return
		}
	}
	if err != nil {
		next.Errors = strings.Split(err.Error(), "\n")
	} else {
		next.Objects, next.Version, next.Synced = content.Objects, digest, true
	}
	if err != nil && strings.Join(next.Errors, "\n") != strings.Join(last.Errors, "\n") {
		d.log.Error("manifests cannot be read; the last good state stays in force", "errors", next.Errors)
	}
	d.mu.Lock()
	d.snap = next
	d.mu.Unlock()
	select {
	case d.changed <- struct{}{}:
	default:
	}
}
