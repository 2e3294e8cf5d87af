//go:build kernel

package kernel

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// firstAnswer is how long it takes until a datagram that is sent again each interval is
// answered: so long a new connection has to wait.
func firstAnswer(ctx context.Context, from, to lab.PodListing) (time.Duration, error) {
	var conn net.Conn
	err := netns.Do(from.Netns, func() (err error) {
		conn, err = net.Dial("udp4", netip.AddrPortFrom(to.Addresses[0], traffic.EchoPort).String())
		return err
	})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	for began := time.Now(); ctx.Err() == nil; {
		if _, err := conn.Write([]byte("new")); err != nil {
			return 0, err
		}
		conn.SetReadDeadline(time.Now().Add(traffic.Interval))
		if _, err := conn.Read(make([]byte, 16)); err == nil {
			return time.Since(began), nil
		}
	}
	return 0, fmt.Errorf("%s to %s: no answer", from.Name, to.Name)
}

// send sends so many bytes over a new TCP connection, to a server of its own in the
// other pod, and returns when all have arrived.
func send(t *testing.T, from, to lab.PodListing, bytes int64) {
	t.Helper()
	var listener net.Listener
	err := netns.Do(to.Netns, func() (err error) {
		listener, err = net.Listen("tcp4", ":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	got := make(chan int64, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			got <- 0
			return
		}
		defer conn.Close()
		n, _ := io.Copy(io.Discard, conn)
		got <- n
	}()
	bound := slow.Bound(10 * time.Second)
	err = netns.Do(from.Netns, func() error {
		port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
		conn, err := net.DialTimeout("tcp4", netip.AddrPortFrom(to.Addresses[0], port).String(), bound)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(bound))
		_, err = conn.Write(make([]byte, bytes))
		return err
	})
	if err != nil {
		t.Fatalf("send from %s to %s: %v", from.Name, to.Name, err)
	}
	select {
	case n := <-got:
		if n != bytes {
			t.Errorf("%d of %d bytes from %s to %s arrived", n, bytes, from.Name, to.Name)
		}
	case <-time.After(bound):
		t.Errorf("%d bytes from %s to %s did not arrive within %s", bytes, from.Name, to.Name, bound)
	}
}

// hearLarge listens on a device from now on; what it returns tells whether a packet
// of over so many bytes has passed.
func hearLarge(t *testing.T, namespace, device string, size int) (heard func() bool) {
	t.Helper()
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8 // in network order
	fd := -1
	err := netns.Do(namespace, func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all)); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index})
	})
	if err != nil {
		t.Fatalf("packet socket on %s: %v", device, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func() bool {
		buffer := make([]byte, 1<<17)
		for {
			n, _, err := unix.Recvfrom(fd, buffer, 0)
			if err != nil {
				return false
			}
			if n > size {
				return true
			}
		}
	}
}
