package scenarios

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/slow"
)

// Ports of the datagrams that no set lets through, and that each does.
const (
	forbiddenPort = 9
	allowedPort   = 10
)

// swapSet is one of two sets of flows, split in two: half of the one with half of the
// other lets forbidden packets through and drops those that are allowed.
//
//	first set:  table 0 forbidden -> 1 (drop)    allowed -> 3 (out)    2 out,  4 drop
//	second set: table 0 forbidden -> 2 (drop)    allowed -> 4 (out)    1 out,  3 drop
func swapSet(second bool) (ways, ends *render.Owned) {
	to := map[bool][2]flows.TableID{false: {1, 3}, true: {2, 4}}[second]
	udp := flows.Match{}.InPort(1).IPv4().Is(flows.IPProto, flows.Uint(17))
	ways = &render.Owned{Owner: flows.Owner{Kind: flows.OwnerPod, Name: "ways"}, Flows: []flows.Flow{
		{Priority: 1, Match: udp.Is(flows.UDPDst, flows.Uint(forbiddenPort)), Actions: []flows.Action{flows.Goto{Table: to[0]}}},
		{Priority: 1, Match: udp.Is(flows.UDPDst, flows.Uint(allowedPort)), Actions: []flows.Action{flows.Goto{Table: to[1]}}},
	}}
	ends = &render.Owned{Owner: flows.Owner{Kind: flows.OwnerPod, Name: "ends"}}
	for table := flows.TableID(1); table <= 4; table++ {
		end := flows.Flow{Table: table, Priority: 1}
		if table == to[1] || table <= 2 && table != to[0] {
			end.Actions = []flows.Action{flows.OutputTo{Port: 2}}
		}
		ends.Flows = append(ends.Flows, end)
	}
	flows.Sort(ways.Flows)
	return ways, ends
}

// TestNoPacketMeetsHalfOfAChange swaps two sets of flows thousands of times under
// traffic that both drop. That the test would see it is shown by swapping them in two
// steps.
func TestNoPacketMeetsHalfOfAChange(t *testing.T) {
	ovs := ovstest.Start(t)
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+ovstest.Datapath(), "fail_mode=secure",
		"--", "add-port", "br0", "from", "--", "set", "interface", "from", "type=internal", "ofport_request=1",
		"--", "add-port", "br0", "to", "--", "set", "interface", "to", "type=internal", "ofport_request=2")
	ovs.Do(func() {
		for _, name := range []string{"from", "to"} {
			link, err := netlink.LinkByName(name)
			if err == nil {
				err = netlink.LinkSetUp(link)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	from, to := openDevice(t, ovs.Namespace.Path, "from"), openDevice(t, ovs.Namespace.Path, "to")
	r := reconcile.New(func(ctx context.Context) (openflow.Switch, error) {
		return openflow.Dial(ctx, ovs.MgmtSocket("br0"), nil)
	}, slog.New(slog.DiscardHandler))
	defer r.Close()
	put := func(set ...*render.Owned) {
		t.Helper()
		if err := r.Apply(t.Context(), set, reconcile.Trust); err != nil {
			t.Fatal(err)
		}
	}
	passed := bothKinds(t, from, to)

	const swaps = 5000
	for i := range swaps {
		ways, ends := swapSet(i%2 == 1)
		put(ends, ways)
	}
	allowed, forbidden := passed()
	if forbidden > 0 {
		t.Errorf("in %d swaps %d forbidden packets passed", swaps, forbidden)
	}
	if allowed < 100 {
		t.Fatalf("only %d allowed packets passed: that no other did proves nothing", allowed)
	}
	t.Logf("%d swaps, %d allowed packets passed, %d forbidden", swaps, allowed, forbidden)

	for end := time.Now().Add(slow.Bound(30 * time.Second)); ; {
		for _, second := range []bool{false, true} {
			waysNow, _ := swapSet(!second)
			_, endsNext := swapSet(second)
			put(endsNext, waysNow) // half
			waysNext, _ := swapSet(second)
			put(endsNext, waysNext)
		}
		if _, forbidden := passed(); forbidden > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("swapped in two steps, no forbidden packet passed either: this test sees nothing")
		}
	}
}

// bothKinds sends forbidden and allowed packets from many ports until the test ends.
// Passed counts those that arrived.
func bothKinds(t *testing.T, from, to *device) (passed func() (allowed, forbidden uint64)) {
	t.Helper()
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	var frames [][]byte
	for _, port := range []uint16{forbiddenPort, allowedPort} {
		what := map[uint16]string{forbiddenPort: "is-forbidden", allowedPort: "is-allowed"}[port]
		frames = append(frames, udpFrame(t, from.mac, to.mac, src, dst, port, what))
	}
	var allowed, forbidden atomic.Uint64
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	t.Cleanup(func() { stop(); <-done; <-done })
	go func() {
		defer func() { done <- struct{}{} }()
		for i := 0; ctx.Err() == nil; i++ {
			// A full queue is no error: the frame is only a sample.
			_ = unix.Sendto(from.fd, frames[i%2], 0, &unix.SockaddrLinklayer{Ifindex: from.index, Halen: 6})
			if i%16 == 0 {
				time.Sleep(200 * time.Microsecond)
			}
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 2048)
		for ctx.Err() == nil {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(to.fd), Events: unix.POLLIN}}, 50)
			if err != nil || n == 0 {
				continue
			}
			n, _, err = unix.Recvfrom(to.fd, buf, 0)
			switch {
			case err != nil:
			case strings.Contains(string(buf[:n]), "is-forbidden"):
				forbidden.Add(1)
			case strings.Contains(string(buf[:n]), "is-allowed"):
				allowed.Add(1)
			}
		}
	}()
	return func() (uint64, uint64) { return allowed.Load(), forbidden.Load() }
}
