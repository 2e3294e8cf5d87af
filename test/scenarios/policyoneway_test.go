package scenarios

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// oneWay is a connection on which only one end sends.
type oneWay struct {
	name string
	came atomic.Int64
}

// openOneWay opens a connection from client to server, by "tcp4", "udp6" or so, on which one of them sends until the
// test ends.
func openOneWay(t *testing.T, network string, client, server lab.PodListing, address netip.Addr, serverSends bool) *oneWay {
	t.Helper()
	o := &oneWay{name: network + ", only the client sends"}
	var out, in net.Conn
	if network[:3] == "tcp" {
		out, in = openTCP(t, network, client, server, address)
	} else {
		out, in = openUDP(t, network, client, server, address)
	}
	from, to := out, in
	if serverSends {
		o.name, from, to = network+", only the server sends", in, out
	}
	go func() {
		for message := make([]byte, 32); ; time.Sleep(2 * time.Millisecond) {
			if _, err := from.Write(message); err != nil {
				return
			}
		}
	}()
	go func() {
		for buffer := make([]byte, 32); ; {
			n, err := io.ReadAtLeast(to, buffer, 1)
			if err != nil {
				return
			}
			o.came.Add(int64(n))
		}
	}()
	t.Cleanup(func() { out.Close(); in.Close() })
	return o
}

func openTCP(t *testing.T, network string, client, server lab.PodListing, address netip.Addr) (out, in net.Conn) {
	t.Helper()
	var listener net.Listener
	err := netns.Do(server.Netns, func() (err error) {
		listener, err = net.Listen(network, netip.AddrPortFrom(address, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	out = dialIn(t, client.Netns, network, listener.Addr().String())
	if in, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return out, in
}

// openUDP has the client send one datagram, so that there is a connection on which the server can send.
func openUDP(t *testing.T, network string, client, server lab.PodListing, address netip.Addr) (out, in net.Conn) {
	t.Helper()
	var socket net.PacketConn
	err := netns.Do(server.Netns, func() (err error) {
		socket, err = net.ListenPacket(network, netip.AddrPortFrom(address, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out = dialIn(t, client.Netns, network, socket.LocalAddr().String())
	if _, err := out.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := socket.SetReadDeadline(time.Now().Add(slow.Bound(5 * time.Second))); err != nil {
		t.Fatal(err)
	}
	_, from, err := socket.ReadFrom(make([]byte, 32))
	if err != nil {
		t.Fatalf("the first datagram: %v", err)
	}
	if err := socket.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	return out, answering{socket.(*net.UDPConn), from}
}

// answering is a server's socket as a connection to one client.
type answering struct {
	*net.UDPConn
	client net.Addr
}

func (a answering) Write(b []byte) (int, error) { return a.WriteTo(b, a.client) }

func dialIn(t *testing.T, namespace, network, address string) (conn net.Conn) {
	t.Helper()
	err := netns.Do(namespace, func() (err error) {
		conn, err = net.DialTimeout(network, address, slow.Bound(5*time.Second))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestAPolicyCutsWhatGoesOneWay: a connection on which only its opener sends, or only the other end, is cut within a
// second by a policy at either end; on one node and between two.
func TestAPolicyCutsWhatGoesOneWay(t *testing.T) {
	l := recipeLab(t, lab.Dual)
	web, api, db := pod(t, l, "shop/web"), pod(t, l, "shop/api"), pod(t, l, "shop/db")
	for _, c := range []struct {
		name, policy string
		servers      []lab.PodListing
	}{
		{"egress of the opener is denied", denyEgress, []lab.PodListing{api, db}},
		{"ingress of the responder is denied", denyIngress, []lab.PodListing{db}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []*oneWay
			for _, server := range c.servers {
				for i, family := range []string{"4", "6"} {
					for _, protocol := range []string{"tcp", "udp"} {
						for _, serverSends := range []bool{false, true} {
							all = append(all, openOneWay(t, protocol+family, web, server, server.Addresses[i], serverSends))
						}
					}
				}
			}
			for _, o := range all {
				more(t, o.name+": it runs", &o.came, 1000)
			}
			knownToBoth(t, l, c.policy)
			time.Sleep(bindsWithin)
			before := make([]int64, len(all))
			for i, o := range all {
				before[i] = o.came.Load()
			}
			time.Sleep(bindsWithin)
			for i, o := range all {
				if n := o.came.Load() - before[i]; n > 0 {
					t.Errorf("%s: %d bytes came %s after the policy was in force", o.name, n, bindsWithin)
				}
			}
			knownToBoth(t, l, noPolicy)
		})
	}
}
