package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// leftovers is an error that names what is left of a cluster that is down.
func (p place) leftovers() error {
	var errs []error
	left := func(what, name string) { errs = append(errs, fmt.Errorf("%s is left: %s", what, name)) }
	environs, err := filepath.Glob("/proc/[1-9]*/environ")
	errs = append(errs, err)
	for _, file := range environs {
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && p.owns(pid) {
			left("a process", fmt.Sprintf("%d, %s", pid, markerOf(pid)))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	errs = append(errs, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, p.dir()+"/") {
			left("a mount", strings.TrimSpace(line))
		}
	}
	dirs, err := hierarchies()
	errs = append(errs, err)
	patterns := []string{p.dir(), filepath.Join("/run/sluice-lab", p.lab()+"*"), "/run/netns/sl-" + p.lab() + ".*"}
	for _, dir := range dirs {
		patterns = append(patterns, filepath.Join(dir, p.cgroup("")+"*"))
	}
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		errs = append(errs, err)
		for _, path := range found {
			left("a file, namespace or control group", path)
		}
	}
	return errors.Join(errs...)
}
