package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
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
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.agentSocket)
	}}}
	defer client.CloseIdleConnections()
	url := fmt.Sprintf("http://agent/debug/pprof/profile?seconds=%d", int(profileTime.Seconds()))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	profile, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, profile)
	}
	return os.WriteFile(file, profile, 0o644)
}
