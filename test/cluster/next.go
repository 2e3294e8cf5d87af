package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/agent/api"
)

// nextImage is Sluice with another pipeline: a build with nextTag, which flows/output_next.go
// is about.
const (
	nextImage = "sluice.test/sluice:next"
	nextTag   = "pipeline_next"
)

// prepareNext makes the image with the other pipeline, and gives it to all nodes.
func (t trial) prepareNext(ctx context.Context) error {
	bin := t.file("next")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", nextTag, "-ldflags", "-s -w -X main.version=next",
		"-o", bin+"/", "./cmd/sluice-agent", "./cmd/sluice-cni", "./cmd/sluicectl")
	build.Dir = t.root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", build, err, out)
	}
	files, err := sluiceFiles(ctx, t.cache, bin)
	if err != nil {
		return err
	}
	archive := filepath.Join(t.imagesDir(), "next.tar")
	if err := (image{nextImage, files, []string{"/usr/local/bin/sluice-agent"}}).write(archive); err != nil {
		return err
	}
	listing, err := t.listing()
	if err != nil {
		return err
	}
	for _, n := range listing.Nodes {
		if err := (node{t.place, t.cache, n, false}).importImages(ctx, []string{archive}); err != nil {
			return err
		}
	}
	return nil
}

// upgrade rolls out an image with another pipeline while pods talk, and back again, and
// sees to it that the tables really were others in between.
func (t trial) upgrade(ctx context.Context) error {
	if err := t.prepareNext(ctx); err != nil {
		return err
	}
	before, err := t.tables(ctx)
	if err != nil {
		return err
	}
	if err := t.rollTo(ctx, nextImage); err != nil {
		return err
	}
	between, err := t.tables(ctx)
	if err != nil {
		return err
	}
	if err := t.rollTo(ctx, sluiceImage); err != nil {
		return err
	}
	after, err := t.tables(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for name, old := range before {
		replaced := 0
		for _, flow := range old {
			if !slices.Contains(between[name], flow) {
				replaced++
			}
		}
		progress("  node %s: %d of %d flows were others meanwhile", name, replaced, len(old))
		if replaced == 0 {
			errs = append(errs, fmt.Errorf("node %s: the other image has the same flows: the roll-out showed nothing", name))
		}
		if !slices.Equal(old, after[name]) {
			errs = append(errs, fmt.Errorf("node %s: its flows are not what they were before:\n%s\n\nbut\n%s", name, strings.Join(old, "\n"), strings.Join(after[name], "\n")))
		}
	}
	return errors.Join(errs...)
}

// rollTo rolls an image out to all nodes while pods talk.
func (t trial) rollTo(ctx context.Context, image string) error {
	err := t.holding(ctx, func(ctx context.Context) error {
		if _, err := t.sluice(ctx, "set", "image", "ds/sluice", "agent="+image); err != nil {
			return err
		}
		_, err := t.sluice(ctx, "rollout", "status", "ds/sluice", "--timeout=60s")
		return err
	})
	if err != nil {
		return fmt.Errorf("roll out %s: %w", image, err)
	}
	return t.eachStatus(ctx, func(node string, s api.Status) error {
		if next := s.Version == "next"; next != (image == nextImage) || !s.Ready {
			return fmt.Errorf("node %s: agent %s runs, ready: %v %v", node, s.Version, s.Ready, s.Problems)
		}
		return nil
	})
}

// tables are the flows of each node's switch, as ovs-ofctl tells them, sorted.
func (t trial) tables(ctx context.Context) (map[string][]string, error) {
	listing, err := t.listing()
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, n := range listing.Nodes {
		text, err := t.run(ctx, n.Name, "ovs-ofctl", "-O", "OpenFlow15", "--no-stats", "--no-names", "dump-flows", "br-sluice")
		if err != nil {
			return nil, err
		}
		flows := map[string]bool{}
		for line := range strings.Lines(text) {
			flows[strings.TrimSpace(line)] = true
		}
		out[n.Name] = slices.Sorted(maps.Keys(flows))
	}
	return out, nil
}
