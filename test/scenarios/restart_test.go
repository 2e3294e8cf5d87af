//go:build long

package scenarios

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// ways are all that is to go on while a node is disturbed.
type ways struct {
	streams []*traffic.Stream
	dials   []*traffic.Dials
}

// pingEvery is the time between two echo requests.
const pingEvery = time.Millisecond

// begin lets everything that can speak with or through n1 do so: pods on one node and
// on two, nodes with pods, pods with outside, by ICMP, UDP and TCP, and with new
// connections all the time; by both families in a lab that has both.
func begin(t *testing.T, l *lab.Lab) *ways {
	t.Helper()
	n1, n2 := node(t, l, "n1"), node(t, l, "n2")
	a1, b1, a2 := pod(t, l, "a1"), pod(t, l, "b1"), pod(t, l, "a2")
	outside := outsideOf(t, l)
	w := &ways{streams: []*traffic.Stream{
		traffic.Ping(t, "ping on one node", a1.Netns, b1.Addresses[0]),
		traffic.Ping(t, "ping across nodes", a1.Netns, a2.Addresses[0]),
		traffic.Ping(t, "ping from the node to its pod", n1.Netns, a1.Addresses[0]),
		traffic.Ping(t, "ping from another node to the pod", n2.Netns, a1.Addresses[0]),
		traffic.Ping(t, "ping from a pod to its node", b1.Netns, n1.Addresses[0]),
		traffic.Ping(t, "ping from a pod to outside", b1.Netns, outside.Addresses[0]),
	}}
	for _, s := range w.streams {
		s.Every = pingEvery
	}
	for _, network := range []string{"tcp4", "udp4"} {
		w.streams = append(w.streams,
			traffic.Connect(t, network+" on one node", network, a1.Netns, b1.Addresses[0]),
			traffic.Connect(t, network+" across nodes", network, a1.Netns, a2.Addresses[0]),
			traffic.Connect(t, network+" from the node to its pod", network, n1.Netns, b1.Addresses[0]),
			traffic.Connect(t, network+" to outside, masqueraded", network, a1.Netns, outside.Addresses[0]),
		)
	}
	w.dials = []*traffic.Dials{
		traffic.BeginDials("new connections on one node", a1.Netns, b1.Addresses[0]),
		traffic.BeginDials("new connections across nodes", a2.Netns, b1.Addresses[0]),
		traffic.BeginDials("new connections from the node", n1.Netns, b1.Addresses[0]),
		traffic.BeginDials("new connections to outside", b1.Netns, outside.Addresses[0]),
	}
	if len(a1.Addresses) > 1 {
		w.byIPv6(t, n1, a1, b1, a2, outside)
	}
	for _, s := range w.streams {
		s.Begin()
	}
	return w
}

// byIPv6 adds the same by IPv6, of which every address here is the second.
func (w *ways) byIPv6(t *testing.T, n1 lab.NodeListing, a1, b1, a2 lab.PodListing, outside lab.OutsideListing) {
	t.Helper()
	for _, s := range []*traffic.Stream{
		traffic.Ping(t, "IPv6 ping on one node", a1.Netns, b1.Addresses[1]),
		traffic.Ping(t, "IPv6 ping across nodes", a1.Netns, a2.Addresses[1]),
		traffic.Ping(t, "IPv6 ping from the node to its pod", n1.Netns, a1.Addresses[1]),
		traffic.Ping(t, "IPv6 ping from a pod to outside", b1.Netns, outside.Addresses[1]),
	} {
		s.Every = pingEvery
		w.streams = append(w.streams, s)
	}
	w.streams = append(w.streams,
		traffic.Connect(t, "udp6 on one node", "udp6", a1.Netns, b1.Addresses[1]),
		traffic.Connect(t, "tcp6 across nodes", "tcp6", a1.Netns, a2.Addresses[1]),
		traffic.Connect(t, "tcp6 to outside, masqueraded", "tcp6", a1.Netns, outside.Addresses[1]))
	w.dials = append(w.dials, traffic.BeginDials("new connections by IPv6", a2.Netns, b1.Addresses[1]))
}

// end fails the test if anything was lost, refused or reset.
func (w *ways) end(t *testing.T) {
	t.Helper()
	for _, s := range w.streams {
		s.Stop()
	}
	for _, d := range w.dials {
		d.End(t)
	}
	for _, s := range w.streams {
		s.End(t, traffic.Span{})
	}
}

// serveAll lets everybody answer.
func serveAll(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, name := range []string{"a1", "b1", "a2"} {
		traffic.ServeEcho(t, pod(t, l, name).Netns)
	}
	traffic.ServeEcho(t, outsideOf(t, l).Netns)
}

// settle is how long traffic goes on before and after a disturbance.
var settle = slow.Bound(700 * time.Millisecond)

// TestTheAgentComesAndGoesUnnoticed: whatever becomes of the agent, no packet is lost
// and no connection is reset.
func TestTheAgentComesAndGoesUnnoticed(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual})
	serveAll(t, l)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	stop := func() { must(l.StopAgent(testContext(t), "n1")) }
	kill := func() { must(l.Kill(testContext(t), "n1", lab.Agent)) }
	start := func() { must(l.Start(testContext(t), "n1", lab.Agent)); ready(t, l, "n1") }
	for _, c := range []struct {
		name    string
		disturb func()
	}{
		{"stopped and away for a while", func() { stop(); time.Sleep(settle); start() }},
		{"killed and away for a while", func() { kill(); time.Sleep(settle); start() }},
		{"restarted", func() { stop(); start() }},
		{"killed five times in a row", func() {
			for range 5 {
				kill()
				must(l.Start(testContext(t), "n1", lab.Agent))
			}
			ready(t, l, "n1")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := typed(t, l, node(t, l, "n1"))
			w := begin(t, l)
			time.Sleep(settle)
			c.disturb()
			time.Sleep(settle)
			w.end(t)
			compare(t, "afterwards", typed(t, l, node(t, l, "n1")), before)
			if n := statusOf(t, node(t, l, "n1")).Flows.Repaired; n > 0 {
				t.Errorf("the new agent took %d flows for somebody else's", n)
			}
		})
	}
}

// ready waits until a node's agent has everything in force.
func ready(t *testing.T, l *lab.Lab, name string) {
	t.Helper()
	n := node(t, l, name)
	eventually(t, name+" is ready", func() error {
		s, err := apiStatus(n)
		if err == nil && (!s.Ready || s.Input.Installed == "" || s.Input.Installed != s.Input.Seen) {
			err = fmt.Errorf("ready %v, input %+v, problems %v", s.Ready, s.Input, s.Problems)
		}
		return err
	})
}

// buildNext builds an agent with another pipeline: each flow that leads to the last
// table, and each one in it, differs (flows/output_next.go).
func buildNext(t *testing.T) string {
	t.Helper()
	// On a machine without Go whoever made the executables has made it, too.
	if path := executable("sluice-agent-next"); exec.Command(path, "--version").Run() == nil {
		return path
	}
	path := filepath.Join(t.TempDir(), "sluice-agent-next")
	build := exec.Command("go", "build", "-tags", "pipeline_next", "-o", path, "github.com/sluice-cni/sluice/cmd/sluice-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// TestUpgradeAndDowngradeUnderTraffic: an agent with another pipeline takes the node
// over, and gives it back, and nothing is lost.
func TestUpgradeAndDowngradeUnderTraffic(t *testing.T) {
	dir := t.TempDir()
	agent := filepath.Join(dir, "sluice-agent")
	for _, name := range []string{"sluice-agent", "sluice-cni", "sluice-lab", "sluicectl"} {
		if err := os.Symlink(executable(name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	next := buildNext(t)
	l := upFrom(t, dir, lab.Options{Nodes: 2, Families: lab.Dual})
	serveAll(t, l)
	n1 := node(t, l, "n1")
	roll := func(t *testing.T, to string) {
		t.Helper()
		if err := os.Remove(agent); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, agent); err != nil {
			t.Fatal(err)
		}
		if err := l.StopAgent(testContext(t), "n1"); err != nil {
			t.Fatal(err)
		}
		if err := l.Start(testContext(t), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
		ready(t, l, "n1")
	}
	before := typed(t, l, n1)
	for _, c := range []struct {
		name, to string
		same     bool
	}{{"upgrade", next, false}, {"downgrade", executable("sluice-agent"), true}} {
		t.Run(c.name, func(t *testing.T) {
			w := begin(t, l)
			time.Sleep(settle)
			roll(t, c.to)
			time.Sleep(settle)
			w.end(t)
			now := typed(t, l, n1)
			if c.same {
				compare(t, "downgraded", now, before)
				return
			}
			if others := without(before, now); len(others) < 10 {
				t.Errorf("only %d of %d flows were others: the upgrade showed nothing", len(others), len(before))
			}
		})
	}
}
