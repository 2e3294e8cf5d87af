//go:build kernel

package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/db"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// restoreWait is the key with which a starting ovs-vswitchd waits for its tables.
const restoreWait = "flow-restore-wait"

// TestARestartOfVswitchdLosesNothing: while ovs-vswitchd is away and comes back, with
// or without the agent, established traffic goes on; new connections wait.
func TestARestartOfVswitchdLosesNothing(t *testing.T) {
	const pods = 10
	l := up(t, pods, 1)
	for i := range pods {
		traffic.ServeEcho(t, pod(t, l, fmt.Sprintf("%c1", 'a'+i)).Netns)
	}
	traffic.ServeEcho(t, pod(t, l, "a2").Netns)
	traffic.ServeEcho(t, outside(t, l).Netns)
	if err := l.ApplyYAML(t.Context(), served("here", serviceHere, pod(t, l, "b1"))+served("there", serviceThere, pod(t, l, "a2"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		// end ends ovs-vswitchd.
		end func(t *testing.T)
		// agent is ended with it.
		agent bool
		// away is how long nobody starts them again.
		away time.Duration
	}{
		{"vswitchd stopped", stopVswitchd(l), false, 0},
		{"vswitchd killed", killVswitchd(l), false, 0},
		{"vswitchd stopped and the agent killed", stopVswitchd(l), true, 0},
		{"vswitchd and the agent killed for some time", killVswitchd(l), true, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) { restart(t, l, pods, c.end, c.agent, c.away) })
	}
}

// Services of one backend, on the client's node and on the other.
var serviceHere, serviceThere = netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("10.96.0.2")

// served is a Service by which a pod's echo is reached.
func served(name string, virtual netip.Addr, backend lab.PodListing) string {
	return fmt.Sprintf(`---
{apiVersion: v1, kind: Service, metadata: {name: %[1]s}, spec: {clusterIPs: [%[2]s], ports: [{name: t, port: %[3]d}, {name: u, protocol: UDP, port: %[3]d}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: t, port: %[3]d}, {name: u, protocol: UDP, port: %[3]d}]
endpoints: [{addresses: [%[4]s], conditions: {ready: true}}]
`, name, virtual, traffic.EchoPort, backend.Addresses[0])
}

func restart(t *testing.T, l *lab.Lab, pods int, end func(*testing.T), agent bool, away time.Duration) {
	n1, a1, b1, a2 := node(t, l, "n1"), pod(t, l, "a1"), pod(t, l, "b1"), pod(t, l, "a2")
	ovsdb, err := db.Open(t.Context(), "unix:"+filepath.Join(n1.OVSRunDir, "db.sock"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer ovsdb.Close()
	eventually(t, "the agent has armed "+restoreWait, 5*time.Second, func() error {
		if ovsdb.OpenvSwitchOtherConfig()[restoreWait] != "true" {
			return errors.New("it is not set")
		}
		return nil
	})
	// The kernel forgets all flows, so that the pairs of `fresh` are new to it.
	run(t, l, "node/n1", "ovs-appctl", "revalidator/purge")
	streams := []*traffic.Stream{
		traffic.Ping(t, "ping on one node", a1.Netns, b1.Addresses[0]),
		traffic.Ping(t, "ping from the node to a pod", n1.Netns, a1.Addresses[0]),
		traffic.Connect(t, "UDP on one node", "udp4", a1.Netns, b1.Addresses[0]),
		traffic.Connect(t, "TCP on one node", "tcp4", a1.Netns, b1.Addresses[0]),
		traffic.Connect(t, "TCP to outside, masqueraded", "tcp4", a1.Netns, outside(t, l).Addresses[0]),
		traffic.Connect(t, "TCP to a Service on one node", "tcp4", a1.Netns, serviceHere),
		traffic.Connect(t, "UDP to a Service on one node", "udp4", a1.Netns, serviceHere),
		traffic.Connect(t, "TCP from the node to a Service", "tcp4", n1.Netns, serviceHere),
		traffic.Ping(t, "IPv6 ping on one node", a1.Netns, b1.Addresses[1]),
		traffic.Ping(t, "IPv6 ping from the node to a pod", n1.Netns, a1.Addresses[1]),
		traffic.Connect(t, "TCP to outside by IPv6, masqueraded", "tcp6", a1.Netns, outside(t, l).Addresses[1]),
	}
	tunnelled := []*traffic.Stream{
		traffic.Ping(t, "ping across nodes", a1.Netns, a2.Addresses[0]),
		traffic.Connect(t, "UDP across nodes", "udp4", a1.Netns, a2.Addresses[0]),
		traffic.Connect(t, "TCP across nodes", "tcp4", a1.Netns, a2.Addresses[0]),
		traffic.Connect(t, "TCP to a Service across nodes", "tcp4", a1.Netns, serviceThere),
		traffic.Connect(t, "UDP to a Service across nodes", "udp4", a1.Netns, serviceThere),
		traffic.Ping(t, "IPv6 ping across nodes", a1.Netns, a2.Addresses[1]),
		traffic.Connect(t, "TCP across nodes by IPv6", "tcp6", a1.Netns, a2.Addresses[1]),
	}
	for _, s := range slices.Concat(streams, tunnelled) {
		s.Begin()
	}
	time.Sleep(slow.Bound(500 * time.Millisecond))
	fresh := newConnections(t, l, pods)

	began := time.Now()
	events, device := watchRestart(n1, ovsdb), watchDevice(t, n1.Netns, "genev_sys_6081")
	if agent {
		if err := unix.Kill(n1.PIDs.Agent, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	end(t)
	time.Sleep(away)
	if err := l.Start(t.Context(), "n1", lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	started := began
	if agent {
		started = time.Now()
		if err := l.Start(t.Context(), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
	}
	up, released, err := events(slow.Bound(5 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	waits := fresh()
	time.Sleep(slow.Bound(500 * time.Millisecond))

	share := released.Sub(up)
	if started.After(up) {
		share = released.Sub(started)
	}
	traffic.Measured(t, "vswitchd was away for %d ms, and released after %d ms, of which %d ms are the agent's",
		up.Sub(began).Milliseconds(), released.Sub(began).Milliseconds(), share.Milliseconds())
	traffic.Measured(t, "%d new connections were begun, the longest wait was %d ms", waits.number, waits.longest.Milliseconds())
	for _, s := range slices.Concat(streams, tunnelled) {
		s.Stop()
	}
	for _, s := range streams {
		s.End(t, traffic.Span{})
	}
	// Open vSwitch 3.1.0 (Debian 12) makes the tunnel's device anew when it starts; seen
	// with `ip monitor link`. Upstream has since mended it ("ofproto: Fix re-creation of
	// tunnel backing interfaces on restart", February 2023). What is sent while there is
	// no device is lost. Nothing else may be, and nothing at all where the device stays.
	renewed := device()
	if renewed != (traffic.Span{}) {
		traffic.Measured(t, "this Open vSwitch made the tunnel's device anew: it was away for %d ms", renewed.Length().Milliseconds())
		renewed = traffic.Span{From: renewed.From.Add(-slow.Bound(traffic.Interval)), To: renewed.To.Add(slow.Bound(traffic.Interval))}
	}
	for _, s := range tunnelled {
		s.End(t, renewed)
	}
	if waits.err != nil {
		t.Error(waits.err)
	}
	if limit := released.Sub(began) + slow.Bound(100*time.Millisecond); waits.longest > limit {
		t.Errorf("a new connection waited %s, longer than until the release, %s", waits.longest, limit)
	}
	bound := slow.Bound(500 * time.Millisecond)
	if agent { // which has to start, too, and to read its sources
		bound = slow.Bound(2 * time.Second)
	}
	if share > bound {
		t.Errorf("the agent took %s to release the switch, want %s", share, bound)
	}
}

// stopVswitchd ends it as its package does, by `ovs-appctl exit`.
func stopVswitchd(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		pid := node(t, l, "n1").PIDs.Vswitchd
		run(t, l, "node/n1", "ovs-appctl", "exit")
		eventually(t, "ovs-vswitchd has ended", 5*time.Second, func() error {
			if unix.Kill(pid, 0) == nil {
				return errors.New("it is there")
			}
			return nil
		})
	}
}

func killVswitchd(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if err := l.Kill(t.Context(), "n1", lab.Vswitchd); err != nil {
			t.Fatal(err)
		}
	}
}

// watchRestart looks for the moment in which the bridge answers again, after it was
// away, and then for the one in which restoreWait goes.
func watchRestart(n lab.NodeListing, ovsdb *db.Client) func(bound time.Duration) (up, released time.Time, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var up, released time.Time
	done := make(chan struct{})
	bridge := filepath.Join(n.OVSRunDir, "br-sluice.mgmt")
	go func() {
		defer close(done)
		gone := false
		for released.IsZero() && ctx.Err() == nil {
			if up.IsZero() {
				conn, err := net.Dial("unix", bridge)
				if err == nil {
					conn.Close()
				}
				gone = gone || err != nil
				if gone && err == nil {
					up = time.Now()
				}
			} else if ovsdb.OpenvSwitchOtherConfig()[restoreWait] == "" {
				released = time.Now()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return func(bound time.Duration) (time.Time, time.Time, error) {
		defer cancel()
		select {
		case <-done:
			return up, released, nil
		case <-time.After(bound):
			cancel()
			<-done
			return up, released, fmt.Errorf("bridge back: %v, but %s was not removed within %s", up, restoreWait, bound)
		}
	}
}

// watchDevice looks at a device from now on; what it returns tells how long it was away.
func watchDevice(t *testing.T, namespace, name string) func() traffic.Span {
	t.Helper()
	ns, err := vnetns.GetFromPath(namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	updates, done := make(chan netlink.LinkUpdate, 1000), make(chan struct{})
	if err := netlink.LinkSubscribeAt(ns, updates, done); err != nil {
		t.Fatal(err)
	}
	result := make(chan traffic.Span, 1)
	go func() {
		var away traffic.Span
		for u := range updates {
			if u.Attrs().Name != name {
				continue
			}
			there := u.Header.Type == unix.RTM_NEWLINK && u.Flags&unix.IFF_UP != 0 && u.Attrs().MasterIndex != 0
			switch {
			case !there && away.From.IsZero():
				away.From = time.Now()
			case there && !away.From.IsZero() && away.To.IsZero():
				away.To = time.Now()
			}
		}
		result <- away
	}()
	return func() traffic.Span {
		close(done)
		return <-result
	}
}

// waits tell how long new connections had to wait.
type waits struct {
	number  int
	longest time.Duration
	err     error
}

// newConnections begins a connection between two pods of n1 that have not spoken
// yet, again and again, until what it returns is called; that waits for all.
func newConnections(t *testing.T, l *lab.Lab, pods int) func() waits {
	t.Helper()
	var list []lab.PodListing
	for i := 2; i < pods; i++ { // a1 and b1 speak already
		list = append(list, pod(t, l, fmt.Sprintf("%c1", 'a'+i)))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var all waits
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := range list {
			for j := range i {
				wait.Go(func() {
					bounded, cancel := context.WithTimeout(context.Background(), slow.Bound(10*time.Second))
					defer cancel()
					took, err := firstAnswer(bounded, list[i], list[j])
					mu.Lock()
					defer mu.Unlock()
					all.number++
					all.longest, all.err = max(all.longest, took), errors.Join(all.err, err)
				})
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		}
	})
	return func() waits {
		cancel()
		wait.Wait()
		return all
	}
}

// TestTheReleaseIsNeverForgotten: wherever the agent is killed while ovs-vswitchd
// starts, the one that comes next releases the switch.
func TestTheReleaseIsNeverForgotten(t *testing.T) {
	l := up(t, 2, 0)
	if r := reach(t, l, "a1", "b1", 0); !r.Reached {
		t.Fatal(r.Error)
	}
	for range 5 {
		agent := node(t, l, "n1").PIDs.Agent
		if err := l.Kill(t.Context(), "n1", lab.Vswitchd); err != nil {
			t.Fatal(err)
		}
		delay := rand.N(slow.Bound(300 * time.Millisecond))
		killed := make(chan error)
		go func() {
			time.Sleep(delay)
			killed <- unix.Kill(agent, unix.SIGKILL)
		}()
		if err := l.Start(t.Context(), "n1", lab.Vswitchd); err != nil {
			t.Fatal(err)
		}
		if err := <-killed; err != nil {
			t.Fatal(err)
		}
		if err := l.Start(t.Context(), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
		// What the kernel knows would be forwarded also without a release.
		run(t, l, "node/n1", "ovs-appctl", "revalidator/purge")
		eventually(t, fmt.Sprintf("agent killed after %s: new connections pass", delay), 5*time.Second, func() error {
			if r := reach(t, l, "a1", "b1", 0); !r.Reached {
				return errors.New(r.Error)
			}
			return nil
		})
	}
}

// TestWithoutAnAgentNothingNewPasses shows that the two tests above test something:
// a switch that nobody releases forwards what the kernel knows, and nothing else.
func TestWithoutAnAgentNothingNewPasses(t *testing.T) {
	l := up(t, 2, 0)
	if err := l.Kill(t.Context(), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	if r := reach(t, l, "a1", "b1", 0); !r.Reached {
		t.Fatal(r.Error)
	}
	if err := l.Kill(t.Context(), "n1", lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context(), "n1", lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	if r := reach(t, l, "a1", "b1", 0); !r.Reached {
		t.Errorf("what the kernel knows does not pass: %s", r.Error)
	}
	if r := reach(t, l, "b1", "10.244.1.1", 0); r.Reached {
		t.Error("something new passes")
	}
	if err := l.Start(t.Context(), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent releases the switch", 5*time.Second, func() error {
		if r := reach(t, l, "b1", "10.244.1.1", 0); !r.Reached {
			return errors.New(r.Error)
		}
		return nil
	})
}
