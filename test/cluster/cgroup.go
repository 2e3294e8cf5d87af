package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupDir = "/sys/fs/cgroup"

// hierarchies are where control groups are made: the one of cgroup v2, or one for each
// controller of cgroup v1.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupDir, "cgroup.controllers")); err == nil {
		return []string{cgroupDir}, nil
	}
	entries, err := os.ReadDir(cgroupDir)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(cgroupDir, e.Name()))
		}
	}
	return dirs, nil
}

// makeCgroup makes a node's control group in each hierarchy: kubelet expects its root
// to be there.
func makeCgroup(name string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
		// A cpuset of cgroup v1 begins empty, and takes no process then.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(dir, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name, file), value, 0o644)
			}
			if err != nil {
				return fmt.Errorf("control group %s: %w", name, err)
			}
		}
	}
	return nil
}

// cgroupBound is how long ended processes may stay in a control group.
const cgroupBound = 10 * time.Second

// removeCgroups removes all control groups whose names begin with prefix, those
// within first.
func removeCgroups(prefix string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		tops, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
		errs = append(errs, err)
		for _, top := range tops {
			errs = append(errs, removeTree(top))
		}
	}
	return errors.Join(errs...)
}

func removeTree(top string) error {
	var groups []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	until := time.Now().Add(cgroupBound)
	for i := len(groups) - 1; i >= 0; i-- {
		for {
			err := unix.Rmdir(groups[i])
			if err == nil || errors.Is(err, unix.ENOENT) {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(until) {
				return fmt.Errorf("remove control group %s: %w", strings.TrimPrefix(groups[i], cgroupDir), err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}
