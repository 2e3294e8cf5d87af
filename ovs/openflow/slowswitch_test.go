package openflow

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/test/slow"
)

func TestSwitchThatDoesNotReadIsLost(t *testing.T) {
	noLeak(t)
	release := make(chan struct{})
	socket := fakeSwitch(t, func(nc net.Conn) {
		frames := newFrameReader(nc)
		for range 2 {
			m, _ := frames.next()
			nc.Write(wellBehaved(m))
		}
		<-release
	})
	defer close(release)
	c, err := dial(t.Context(), socket, nil, quick)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	many := make([]flows.Flow, 100_000)
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := c.Apply(ctx, Change{Add: many}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "of 100000") {
		t.Errorf("%v", err)
	}
	if d := time.Since(start); d > 90*time.Millisecond {
		t.Errorf("it took %v beyond its context", d)
	}
	if err := c.Apply(t.Context(), Change{Add: many}); !errors.Is(err, ErrLost) || !errors.Is(err, ErrNoAnswer) {
		t.Errorf("%v", err)
	}
}

// TestSwitchThatReadsSlowly gets all of a change if it reads 64 KiB within the bound of
// a write, and is lost within that bound if it does not.
func TestSwitchThatReadsSlowly(t *testing.T) {
	noLeak(t)
	many := make([]flows.Flow, 10_000) // more than 1 MB
	for _, tc := range []struct {
		what  string
		chunk int
		pause time.Duration
		lost  bool
	}{
		{"64 KiB in 10 ms", 16 << 10, 2500 * time.Microsecond, false},
		{"64 KiB in a minute", 100, 100 * time.Millisecond, true},
	} {
		t.Run(tc.what, func(t *testing.T) {
			t.Parallel()
			c, err := dial(t.Context(), fakeSwitch(t, func(nc net.Conn) {
				answering(wellBehaved)(&slowReader{Conn: nc, chunk: tc.chunk, pause: tc.pause})
			}), nil, quick)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			begun := time.Now()
			err = c.Apply(t.Context(), Change{Add: many})
			if took := time.Since(begun); tc.lost && took > slow.Bound(time.Second) || took > slow.Bound(5*time.Second) {
				t.Errorf("it took %v", took)
			}
			if tc.lost != errors.Is(err, ErrNoAnswer) || tc.lost != errors.Is(err, ErrLost) || tc.lost != (err != nil) {
				t.Errorf("%v", err)
			}
		})
	}
}

// slowReader reads a few bytes at a time once the greeting is over.
type slowReader struct {
	net.Conn
	chunk, read int
	pause       time.Duration
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.read > 100 {
		time.Sleep(r.pause)
		p = p[:min(len(p), r.chunk)]
	}
	n, err := r.Conn.Read(p)
	r.read += n
	return n, err
}

// TestFloodOfEchoesStopsNothing: their answers are dropped when they cannot go out.
func TestFloodOfEchoesStopsNothing(t *testing.T) {
	noLeak(t)
	socket := fakeSwitch(t, func(nc net.Conn) {
		frames := newFrameReader(nc)
		for range 2 {
			m, _ := frames.next()
			nc.Write(wellBehaved(m))
		}
		for range 10_000 {
			if _, err := nc.Write(reply(kindEchoRequest, 5, make([]byte, 1000)...)); err != nil {
				return
			}
		}
		answering(wellBehaved)(nc)
	})
	c, err := dial(t.Context(), socket, nil, normal)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Barrier(t.Context()); err != nil {
		t.Error(err)
	}
}
