package conntrack_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/ovs/appctl"
	"github.com/sluice-cni/sluice/ovs/conntrack"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// The next hop of all that is plugged in; nobody has it.
var (
	router    = netip.MustParseAddr("169.254.0.1")
	routerMAC = net.HardwareAddr{0x0a, 0x58, 0xa9, 0xfe, 0, 1}
)

// attach plugs a namespace into br0 and returns it.
func attach(t *testing.T, ovs *ovstest.OVS, number int, address string) *ovstest.Namespace {
	t.Helper()
	pod := ovs.AddNS()
	name := fmt.Sprintf("port%d", number)
	ovs.Do(func() {
		cable, err := plug.Create(t.Context(), plug.Spec{
			HostName: name, NetNS: pod.Path, IfName: "eth0", MAC: net.HardwareAddr{0x0a, 0x58, 0, 0, 0, byte(number)}, MTU: 1400,
			Addresses: []netip.Addr{netip.MustParseAddr(address)}, Routers: []netip.Addr{router}, RouterMAC: routerMAC,
			ChecksumOffloadOff: ovstest.Datapath() == "netdev",
		})
		if err != nil {
			t.Fatal(err)
		}
		defer cable.Close()
		if err := cable.Configure(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	ovs.Vsctl("add-port", "br0", name, "--", "set", "interface", name, fmt.Sprintf("ofport_request=%d", number))
	return pod
}

// give makes new connections to the virtual address go to the backend of that number.
func give(ovs *ovstest.OVS, number int) {
	ovs.Ofctl("mod-flows", "br0", fmt.Sprintf("table=1,ct_state=+trk+new,udp,nw_dst=10.96.0.10,actions="+
		"ct(commit,zone=100,table=2,nat(dst=10.244.1.%d:%d))", number, traffic.EchoPort))
}

// TestASocketThatStaysIsServedByAnotherBackend: a client that keeps one UDP socket stays with a
// backend as long as its connection is known, and goes to another as soon as it is forgotten. A client of
// a healthy backend does not notice.
func TestASocketThatStaysIsServedByAnotherBackend(t *testing.T) {
	ovs := ovstest.Start(t)
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+ovstest.Datapath(), "fail_mode=secure")
	client := attach(t, ovs, 1, "10.244.1.1")
	for i := 2; i <= 3; i++ {
		traffic.ServeEcho(t, attach(t, ovs, i, fmt.Sprintf("10.244.1.%d", i)).Path)
	}
	ovs.Ofctl("add-flow", "br0", "table=0,ip,actions=ct(zone=100,nat,table=1)")
	ovs.Ofctl("add-flow", "br0", "table=1,ct_state=+trk+new,udp,nw_dst=10.96.0.10,actions=drop")
	ovs.Ofctl("add-flow", "br0", "table=1,ct_state=+trk+est,ip,actions=resubmit(,2)")
	for i := 1; i <= 3; i++ {
		ovs.Ofctl("add-flow", "br0", fmt.Sprintf("table=2,ip,nw_dst=10.244.1.%d,actions=mod_dl_dst:0a:58:00:00:00:0%[1]d,output:%[1]d", i))
	}
	var stays, moves net.Conn
	client.Do(func() {
		stays, moves = dial(t), dial(t)
	})
	give(ovs, 3)
	ask(t, stays)
	give(ovs, 2)
	ask(t, moves)
	give(ovs, 3)
	for range 3 {
		ask(t, moves)
	}
	if got := servedBy(ovs, moves); got != "10.244.1.2" {
		t.Fatalf("a known connection is served by %q", got)
	}

	table := conntrack.Of(ovstest.Datapath(), appctl.Client{RunDir: ovs.Dir()})
	virtual, gone := netip.MustParseAddrPort("10.96.0.10:53"), netip.AddrPortFrom(netip.MustParseAddr("10.244.1.2"), traffic.EchoPort)
	ovs.Do(func() {
		err := table.Forget(t.Context(), conntrack.Match{
			Zone: 100, Protocol: conntrack.UDP, Original: conntrack.Tuple{Dst: virtual}, Reply: conntrack.Tuple{Src: gone},
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	if left := servedBy(ovs, moves); left != "" {
		t.Errorf("it is still served by %s", left)
	}
	ask(t, moves)
	ask(t, stays)
	for name, conn := range map[string]net.Conn{"the socket whose backend has gone": moves, "the other": stays} {
		if got := servedBy(ovs, conn); got != "10.244.1.3" {
			t.Errorf("%s is served by %q", name, got)
		}
	}
}

func dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp4", "10.96.0.10:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a datagram and waits for the answer.
func ask(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(slow.Bound(10 * time.Second)))
	buffer := make([]byte, 16)
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(buffer); err != nil {
		t.Fatal(err)
	}
}

// servedBy is the backend of a socket's connection, empty if it is not known.
func servedBy(ovs *ovstest.OVS, conn net.Conn) string {
	port := netip.MustParseAddrPort(conn.LocalAddr().String()).Port()
	for line := range strings.Lines(ovs.Appctl("dpctl/dump-conntrack", "zone=100")) {
		if _, reply, ok := strings.Cut(line, "reply=(src="); ok && strings.Contains(line, fmt.Sprintf("sport=%d,", port)) {
			backend, _, _ := strings.Cut(reply, ",")
			return backend
		}
	}
	return ""
}
