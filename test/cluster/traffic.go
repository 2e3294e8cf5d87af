package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// silenceBound is how long a client that keeps one UDP socket may wait when its backend goes.
// A second is what it takes here; the machine may have others to serve.
const silenceBound = 10 * time.Second

// scaled makes the Deployment twice as large, half as large, and as it was, under traffic.
func (t trial) scaled(ctx context.Context) error {
	return t.loading(ctx, func(ctx context.Context) error {
		for _, count := range []int{2 * backends, backends / 2, backends} {
			if _, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "scale", "deployment/backend", fmt.Sprint("--replicas=", count)); err != nil {
				return err
			}
			if err := t.settled(ctx, count); err != nil {
				return err
			}
		}
		return nil
	})
}

// rolledOut replaces all pods of the Deployment under traffic.
func (t trial) rolledOut(ctx context.Context) error {
	return t.loading(ctx, func(ctx context.Context) error {
		if _, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "rollout", "restart", "deployment/backend"); err != nil {
			return err
		}
		return t.settled(ctx, backends)
	})
}

// settled waits until the Deployment has that many pods, and the others are gone.
func (t trial) settled(ctx context.Context, count int) error {
	if err := t.rolled(ctx, "deployment/backend"); err != nil {
		return err
	}
	return await(ctx, "the other pods to go", 3*time.Minute, func(ctx context.Context) error {
		pods, err := t.list(ctx)
		if err != nil {
			return err
		}
		have := 0
		for _, pod := range pods {
			if pod.Labels["app"] == "backend" {
				have++
			}
		}
		if have != count {
			return fmt.Errorf("there are %d, not %d", have, count)
		}
		return nil
	})
}

// loading runs do while a client on each node opens sessions to the Service, holds some, and
// sends datagrams. None may fail but those whose pod has gone.
func (t trial) loading(ctx context.Context, do func(context.Context) error) error {
	clients, err := t.of(ctx, trialNamespace, "client")
	if err != nil {
		return err
	}
	var loads []*background
	for _, client := range clients {
		b, err := t.inPod(ctx, client, "load", "backend:81", "backend:81")
		if err != nil {
			return err
		}
		defer b.kill()
		loads = append(loads, b)
	}
	if err := do(ctx); err != nil {
		return err
	}
	pods, err := t.of(ctx, trialNamespace, "backend")
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, b := range loads {
		g.Go(func() error { return endLoad(b, podNames(pods)) })
	}
	return g.Wait()
}

// endLoad ends it, and looks at what it went through; living are the pods that are still there.
func endLoad(b *background, living []string) error {
	var seen struct {
		Answers   map[string]int
		Slowest   time.Duration
		Failed    int
		Errors    []string
		Broken    []struct{ Pod, Error string }
		Held      map[string]int
		Datagrams int
		Silence   time.Duration
		LastBy    string
	}
	if err := b.end(&seen); err != nil {
		return err
	}
	opened, held := 0, 0
	for _, n := range seen.Answers {
		opened += n
	}
	for _, n := range seen.Held {
		held += n
	}
	progress("  from %s: %d sessions opened at %d pods, %d failed, the slowest took %s; %d held to the end, %d ended with their pods; %d datagrams of one socket, the longest silence %s",
		b.pod.Spec.NodeName, opened, len(seen.Answers), seen.Failed, seen.Slowest.Round(time.Millisecond), held, len(seen.Broken), seen.Datagrams, seen.Silence.Round(time.Millisecond))
	var errs []error
	if seen.Failed > 0 || opened == 0 {
		errs = append(errs, fmt.Errorf("%d sessions failed, %d did not: %q", seen.Failed, opened, seen.Errors))
	}
	for _, s := range seen.Broken {
		if slices.Contains(living, s.Pod) {
			errs = append(errs, fmt.Errorf("a session with %s, which goes on, broke: %s", s.Pod, s.Error))
		}
	}
	for pod := range seen.Held {
		if !slices.Contains(living, pod) {
			errs = append(errs, fmt.Errorf("a session with %s outlived it", pod))
		}
	}
	if seen.Silence > silenceBound || !slices.Contains(living, seen.LastBy) {
		errs = append(errs, fmt.Errorf("a UDP socket had no answer for %s, the last one from %s; there are %q", seen.Silence, seen.LastBy, living))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s on %s: %w", b.pod.Name, b.pod.Spec.NodeName, err)
	}
	return nil
}
