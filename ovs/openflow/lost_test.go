package openflow_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/test/slow"
)

// TestLostSwitchEndsEverythingAtOnce has a change after the other under way when
// the switch goes.
func TestLostSwitchEndsEverythingAtOnce(t *testing.T) {
	noLeak(t)
	for _, tc := range []struct {
		how   string
		bound time.Duration
		lose  func(t *testing.T, ovs ovsUnderTest)
	}{
		{"killed", time.Second, func(t *testing.T, o ovsUnderTest) { o.Kill(daemon.Vswitchd) }},
		{"stopped as by its package", 2 * time.Second, func(t *testing.T, o ovsUnderTest) { o.Stop(daemon.Vswitchd) }},
		{"the bridge deleted", time.Second, func(t *testing.T, o ovsUnderTest) { o.Vsctl("del-br", "br0") }},
		{"frozen", 7 * time.Second, func(t *testing.T, o ovsUnderTest) {
			pid, ok := o.PID(daemon.Vswitchd)
			if !ok {
				t.Fatal("no ovs-vswitchd")
			}
			t.Cleanup(func() { syscall.Kill(pid, syscall.SIGCONT) })
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		for _, idle := range []bool{true, false} {
			what := tc.how + " while changes are made"
			if idle {
				what = tc.how + " while idle"
			}
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				ovs, socket := bridge(t)
				var log bytes.Buffer
				c, err := openflow.Dial(t.Context(), socket, slog.New(slog.NewTextHandler(&log, nil)))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if c.Err() != nil {
					t.Fatal(c.Err())
				}
				events := watch(t, c)
				packets := receive(t, c, action...)
				ended := make(chan error, 5)
				if !idle {
					for _, call := range []func(ctx context.Context) error{
						func(ctx context.Context) error { _, err := c.PortStats(ctx); return err },
						func(ctx context.Context) error { return c.SendPacket(ctx, through(0, nil)) },
						func(ctx context.Context) error {
							return c.Apply(ctx, openflow.Change{PutMeters: []flows.Meter{{ID: 1, Bands: dropAt(1, 0)}}})
						},
					} {
						go func() { ended <- until(func() error { return call(context.Background()) }) }()
					}
					change := openflow.Change{Add: routes(5_000)}
					go func() { ended <- until(func() error { return c.Apply(context.Background(), change) }) }()
					go func() { ended <- until(func() error { _, err := c.Dump(context.Background()); return err }) }()
					time.Sleep(100 * time.Millisecond)
				}
				start := time.Now()
				tc.lose(t, ovs)
				select {
				case <-c.Lost():
				case <-time.After(slow.Bound(tc.bound)):
					t.Fatalf("not lost within %v", tc.bound)
				}
				t.Logf("lost after %v: %v", time.Since(start).Round(time.Millisecond), c.Err())
				if !idle {
					for range cap(ended) {
						select {
						case err := <-ended:
							if !errors.Is(err, openflow.ErrLost) {
								t.Errorf("%v", err)
							}
						case <-time.After(slow.Bound(100 * time.Millisecond)):
							t.Fatal("a call goes on")
						}
					}
				}
				closes(t, "events", events)
				closes(t, "packets", packets)
				if _, err := c.Dump(t.Context()); !errors.Is(err, openflow.ErrLost) {
					t.Errorf("afterwards: %v", err)
				}
				c.Close()
				if errors.Is(c.Err(), openflow.ErrClosed) || strings.Count(log.String(), "lost") == 0 || strings.Count(log.String(), "\n") != 1 {
					t.Errorf("reason %v, log %q", c.Err(), log.String())
				}
			})
		}
	}
}

// closes fails unless a channel has been closed, or is at once.
func closes[T any](t *testing.T, what string, ch <-chan T) {
	t.Helper()
	for bound := time.After(slow.Bound(100 * time.Millisecond)); ; {
		select {
		case _, ok := <-ch:
			if !ok {
				return
			}
		case <-bound:
			t.Fatalf("the channel of %s stays open", what)
		}
	}
}

// ovsUnderTest is what losing a switch takes.
type ovsUnderTest interface {
	Kill(daemon.Daemon)
	Stop(daemon.Daemon)
	Vsctl(args ...string) string
	PID(daemon.Daemon) (int, bool)
}

func until(do func() error) (err error) {
	for err == nil {
		err = do()
	}
	return err
}

func TestClosedConnectionEndsCallsAndLeavesNothing(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	ended := make(chan error, 1)
	go func() {
		ended <- until(func() error { return c.Apply(context.Background(), openflow.Change{Add: routes(1000)}) })
	}()
	time.Sleep(20 * time.Millisecond)
	c.Close()
	<-c.Lost()
	if err := <-ended; !errors.Is(err, openflow.ErrLost) || !errors.Is(err, openflow.ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestIdleConnectionStays(t *testing.T) {
	t.Parallel()
	_, socket := bridge(t)
	c := dial(t, socket)
	select {
	case <-c.Lost():
		t.Fatal(c.Err())
	case <-time.After(7 * time.Second):
	}
	if err := c.Barrier(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDialSaysWhatIsMissing(t *testing.T) {
	noLeak(t)
	_, err := openflow.Dial(t.Context(), t.TempDir()+"/br0.mgmt", nil)
	if err == nil || !strings.Contains(err.Error(), "br0.mgmt") || !strings.Contains(err.Error(), "ovs-vswitchd") {
		t.Errorf("%v", err)
	}
	ovs, socket := bridge(t)
	ovs.Vsctl("set", "bridge", "br0", "protocols=OpenFlow10,OpenFlow13")
	if _, err := openflow.Dial(t.Context(), socket, nil); err == nil || !strings.Contains(err.Error(), "protocols") {
		t.Errorf("%v", err)
	}
}
