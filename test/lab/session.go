package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// parallel is how many pods or nodes are made at once.
const parallel = 8

// session is a lab while one command, which holds its lock, changes it.
type session struct {
	places
	state   *state
	cluster *cluster
	out     *output
	unlock  func()
}

// begin locks the lab and reads what it is. Whoever calls ends the session.
func (l *Lab) begin(ctx context.Context) (*session, error) {
	// Looked at before the lock is taken, as that makes a file.
	if _, err := l.places.loadState(); err != nil {
		return nil, err
	}
	unlock, err := l.places.lock(ctx, l.out)
	if err != nil {
		return nil, err
	}
	s := &session{places: l.places, out: l.out, unlock: unlock}
	if s.state, err = l.places.loadState(); err == nil && !s.state.Up {
		err = l.places.halfUp()
	}
	if err == nil {
		s.cluster, err = l.places.loadCluster()
	}
	if err == nil {
		s.cluster.underlay = s.state.Underlay
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return s, nil
}

// halfUp says that a lab cannot be changed.
func (p places) halfUp() error {
	return fmt.Errorf("lab %q was left half-way by an `up` that failed: run `sluice-lab down%s` first", p.lab, nameFlag(p.lab))
}

// end releases the lock.
func (s *session) end() { s.unlock() }

// save writes the state down.
func (s *session) save() error { return s.saveState(s.state) }

func (s *session) host(node string) host { return s.places.host(s.state, node) }

// forAll calls do for all items, some at once, and returns all errors.
func forAll[T any](items []T, do func(T) error) error {
	errs := make([]error, len(items))
	slots := make(chan struct{}, parallel)
	var wait sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(item)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
