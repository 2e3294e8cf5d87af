package services

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
)

// closing answers each connection to port 8080 with the server's name and the client, and ends it first: so its
// source port is free at once.
func (n *node) closing(name string) {
	n.t.Helper()
	var l net.Listener
	n.must(netns.Do(n.place(name).Path, func() (err error) {
		l, err = net.Listen("tcp4", ":8080")
		return err
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, name, " ", c.RemoteAddr())
			c.Close()
		}
	}()
	n.t.Cleanup(func() {
		l.Close()
		<-done
	})
}

// readFrom connects from a source port, and returns all that is answered.
func (n *node) readFrom(place string, port uint16, to string, bound time.Duration) (string, error) {
	d := net.Dialer{
		Timeout: bound, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), port)),
		Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
			return errors.Join(err, failed)
		},
	}
	var c net.Conn
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := netns.Do(n.place(place).Path, func() (err error) {
			c, err = d.Dial("tcp4", to)
			return err
		})
		if err == nil {
			break
		}
		// The last acknowledgement of the older connection is on its way yet.
		if !errors.Is(err, unix.EADDRNOTAVAIL) || time.Now().After(end) {
			return "", err
		}
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(bound)); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	return string(answer), err
}

// TestASourcePortIsUsedAgain by a client of a Service, at once and after a direct connection to the same backend: it is
// served. A direct one after that may not be, which is measured only.
func TestASourcePortIsUsedAgain(t *testing.T) {
	n := newNode(t)
	n.addService(1, "b")
	n.put()
	n.closing("b")
	const direct, ports = "10.244.1.3:8080", 12
	unanswered := 0
	for i := range uint16(ports) {
		port := 40000 + 50*i
		for _, to := range []string{virtual("tcp4", 1, 80), virtual("tcp4", 1, 80), direct, virtual("tcp4", 1, 80), direct} {
			bound := patience
			if to == direct {
				bound = time.Second / 2 // the next SYN would be lost, too
			}
			got, err := n.readFrom("a", port, to, bound)
			switch {
			case to == direct && err != nil:
				unanswered++
			case err != nil || !strings.HasPrefix(got, "b 10.244.1.2:"):
				t.Errorf("%s from port %d: %q, %v", to, port, got, err)
			}
		}
	}
	t.Logf("measured: %d of %d direct connections from a port that was used by way of the Service were not answered", unanswered, 2*ports)
}
