package traffic

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/slow"
)

// Dials are TCP connections, opened one after the other until they are ended: each
// sends a message, has it back, and is closed.
type Dials struct {
	Name string

	stop context.CancelFunc
	wait sync.WaitGroup

	number  int
	longest time.Duration
	err     error
}

// dialPause is the time between two connections.
const dialPause = 5 * time.Millisecond

// lostSYN is when Linux sends a first segment that was not answered again (RFC 6298:
// 1 s): a connection that was opened sooner has lost none.
const lostSYN = time.Second

// BeginDials starts opening connections to the echo port of an address.
func BeginDials(name, namespace string, to netip.Addr) *Dials {
	ctx, cancel := context.WithCancel(context.Background())
	d := &Dials{Name: name, stop: cancel}
	target := netip.AddrPortFrom(to, EchoPort).String()
	d.wait.Go(func() {
		// All of them from one thread that is in the namespace.
		d.err = netns.Do(namespace, func() error {
			for ctx.Err() == nil {
				took, err := dialOnce(target)
				if err != nil {
					return fmt.Errorf("connection %d: %w", d.number, err)
				}
				d.number++
				d.longest = max(d.longest, took)
				time.Sleep(dialPause)
			}
			return nil
		})
	})
	return d
}

// dialOnce tells how long it took to open the connection.
func dialOnce(target string) (time.Duration, error) {
	bound := slow.Bound(20 * time.Second)
	began := time.Now()
	conn, err := net.DialTimeout("tcp", target, bound)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	took := time.Since(began)
	conn.SetDeadline(time.Now().Add(bound))
	if _, err := conn.Write([]byte("new")); err != nil {
		return 0, err
	}
	_, err = io.ReadFull(conn, make([]byte, 3))
	return took, err
}

// End stops opening connections, and fails the test if one of them was refused, reset,
// or had to ask twice.
func (d *Dials) End(t *testing.T) {
	t.Helper()
	d.EndLate(t, slow.Bound(lostSYN))
}

// EndLate is End where a connection may have to ask until the bound.
func (d *Dials) EndLate(t *testing.T, bound time.Duration) {
	t.Helper()
	d.stop()
	d.wait.Wait()
	Measured(t, "%s: %d connections, the slowest was opened in %d ms", d.Name, d.number, d.longest.Milliseconds())
	if d.err != nil || d.number == 0 {
		t.Errorf("%s: %v", d.Name, d.err)
	}
	if d.longest >= bound {
		t.Errorf("%s: a connection was opened after %s, not within %s", d.Name, d.longest, bound)
	}
}
