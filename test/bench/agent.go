package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/sluice-cni/sluice/agent/api"
)

// profileTime is how long the agent is profiled.
const profileTime = 10 * time.Second

// investigate looks into the agent, when what is measured has been.
func (b *bench) investigate(ctx context.Context) error {
	if b.phases {
		if err := b.sluice.printPhases(os.Stdout); err != nil {
			return fmt.Errorf("read the agent's log: %w", err)
		}
	}
	if b.profile == "" {
		return nil
	}
	progress("profiling the agent for %v", profileTime)
	if err := b.sluice.takeProfile(ctx, b.profile); err != nil {
		return fmt.Errorf("profile the agent: %w", err)
	}
	return nil
}

// takeProfile writes a CPU profile of the agent, which serves ADDs and DELs meanwhile.
func (s *sluice) takeProfile(ctx context.Context, file string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.fetchProfile(ctx, file) }()
	pod, err := s.sandbox(0)
	if err != nil {
		return err
	}
	for {
		select {
		case err := <-done:
			return err
		default:
		}
		if _, err := s.add(ctx, pod); err != nil {
			return err
		}
		if _, err := s.del(ctx, pod); err != nil {
			return err
		}
		if err := s.awaitGone(ctx, pod); err != nil {
			return err
		}
	}
}

func (s *sluice) fetchProfile(ctx context.Context, file string) error {
	var profile bytes.Buffer
	if err := api.NewClient(s.agentSocket).Profile(ctx, int(profileTime.Seconds()), &profile); err != nil {
		return err
	}
	return os.WriteFile(file, profile.Bytes(), 0o644)
}
