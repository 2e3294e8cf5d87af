package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
)

// runDir holds a directory for each run. It is on a RAM disk, as the lab is: no
// contender waits for a real one.
const runDir = "/run/sluice-bench"

// place says where the things of the run with that process id are, so that all of
// them can be found and removed by anybody.
type place struct{ pid int }

func here() place { return place{os.Getpid()} }

func (p place) dir() string                  { return filepath.Join(runDir, strconv.Itoa(p.pid)) }
func (p place) pluginDir() string            { return filepath.Join(p.dir(), "plugins") }
func (p place) cacheDir(name string) string  { return filepath.Join(p.dir(), "cache", name) }
func (p place) leasesDir(name string) string { return filepath.Join(p.dir(), "leases", name) }
func (p place) lab() string                  { return fmt.Sprintf("bench-%d", p.pid) }
func (p place) netnsPrefix() string          { return fmt.Sprintf("sluice-bench-%d.", p.pid) }

// clear removes all that the run has made.
func (p place) clear(ctx context.Context) error {
	errs := []error{lab.Down(ctx, p.lab(), io.Discard)}
	names, err := netns.Names(p.netnsPrefix())
	errs = append(errs, err)
	for _, name := range names {
		errs = append(errs, netns.Delete(name))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up (the next run tries again): %w", err)
	}
	if err := os.RemoveAll(p.dir()); err != nil {
		return err
	}
	if err := os.Remove(runDir); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

// removeLeftovers clears what runs left that did not come to their end.
func removeLeftovers(ctx context.Context) error {
	entries, err := os.ReadDir(runDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || syscall.Kill(pid, 0) == nil {
			continue // it runs, or another process has its number now: then a later run clears it
		}
		errs = append(errs, place{pid}.clear(ctx))
	}
	return errors.Join(errs...)
}
