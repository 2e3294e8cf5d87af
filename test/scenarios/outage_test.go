//go:build long

package scenarios

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// static is a bridge with one flow, in the same ovs-vswitchd as a node's own: what it
// loses is Open vSwitch's doing. Its two machines are 192.0.2.1 and 192.0.2.2.
type static struct {
	l        *lab.Lab
	datapath string
	from     string
}

const staticFlow = "priority=1,actions=NORMAL"

// addStatic makes the bridge br-static on n1; it goes with the lab.
func addStatic(t *testing.T, l *lab.Lab) static {
	t.Helper()
	n1 := node(t, l, "n1")
	s := static{l: l, datapath: statusOf(t, n1).Bridge.Datapath}
	s.vsctl(t, "add-br", "br-static", "--", "set", "bridge", "br-static", "datapath_type="+s.datapath, "fail_mode=secure")
	for i, name := range []string{"static1", "static2"} {
		machine := ovstest.NewNamespace(t).Path
		if i == 0 {
			s.from = machine
		}
		s.connect(t, n1.Netns, machine, name, []string{"192.0.2.1/24", "192.0.2.2/24"}[i])
		s.vsctl(t, "add-port", "br-static", name)
	}
	if err := s.load(t); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s static) vsctl(t *testing.T, args ...string) {
	t.Helper()
	if _, err := s.l.Exec(testContext(t), "node/n1", append([]string{"ovs-vsctl", "--no-wait"}, args...)...); err != nil {
		t.Fatal(err)
	}
}

// connect makes a cable between the node and the machine.
func (s static) connect(t *testing.T, nodeNS, machine, name, address string) {
	t.Helper()
	inside, err := os.Open(machine)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	err = netns.Do(nodeNS, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		veth := netlink.NewVeth(attrs)
		veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(inside.Fd())
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		return netlink.LinkSetUp(veth)
	})
	if err == nil {
		err = netns.Do(machine, func() error {
			link, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			a, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(link, a); err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		})
	}
	if err != nil {
		t.Fatalf("cable of br-static: %v", err)
	}
}

// load puts the flow in.
func (s static) load(t *testing.T) error {
	t.Helper()
	bridge := "unix:" + node(t, s.l, "n1").OVSRunDir + "/br-static.mgmt"
	return exec.CommandContext(testContext(t), "ovs-ofctl", "-O", "OpenFlow15", "add-flow", bridge, staticFlow).Run()
}

// reload puts the flow in as soon as the bridge is back, however long that takes.
func (s static) reload(t *testing.T) {
	t.Helper()
	eventually(t, "br-static is back", func() error { return s.load(t) })
}

func (s static) ping(t *testing.T) *traffic.Stream {
	t.Helper()
	p := traffic.Ping(t, "ping by one static flow", s.from, netip.MustParseAddr("192.0.2.2"))
	p.Every = pingEvery
	return p
}

// endBeside ends all traffic of which some may be lost while userspace Open vSwitch
// itself forwards nothing, and holds the longest silence against that of the static
// flow in the same ovs-vswitchd. No connection may be reset all the same.
func (w *ways) endBeside(t *testing.T, beside *traffic.Stream) {
	t.Helper()
	for _, s := range w.streams {
		s.Stop()
	}
	theirs := beside.Finish()
	traffic.Measured(t, "%s: %d of %d lost, longest silence %d ms", beside.Name, len(theirs.Lost), theirs.Sent, theirs.Silence.Milliseconds())
	for _, d := range w.dials {
		d.EndLate(t, slow.Bound(10*time.Second))
	}
	for _, s := range w.streams {
		ours := s.Finish()
		traffic.Measured(t, "%s: %d of %d lost, longest silence %d ms, %.2f times the static flow's",
			s.Name, len(ours.Lost), ours.Sent, ours.Silence.Milliseconds(), float64(ours.Silence)/float64(theirs.Silence))
		if ours.Broken != nil {
			t.Errorf("%s broke: %v", s.Name, ours.Broken)
		}
		if s.Every == pingEvery && ours.Silence > theirs.Silence*5/4+slow.Bound(onTop) {
			t.Errorf("%s: silent for %s, a static flow in the same run for %s", s.Name, ours.Silence, theirs.Silence)
		}
	}
}

// onTop is how much longer than a static flow's an outage may last, besides a quarter
// for what the machine does otherwise: the agent has to hear of the switch, and to dump
// and load all flows.
const onTop = 150 * time.Millisecond

// TestOVSDBRestarts: ovsdb-server gone for a while, and back. The kernel's datapath
// loses nothing. Userspace Open vSwitch polls its devices in the thread that has to
// hold OVSDB's lock, and forwards nothing without: a static flow shows as much.
func TestOVSDBRestarts(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual})
	serveAll(t, l)
	beside := addStatic(t, l)
	w, other := begin(t, l), beside.ping(t)
	other.Begin()
	time.Sleep(settle)
	if err := l.Kill(testContext(t), "n1", lab.OVSDB); err != nil {
		t.Fatal(err)
	}
	time.Sleep(settle)
	if err := l.Start(testContext(t), "n1", lab.OVSDB); err != nil {
		t.Fatal(err)
	}
	ready(t, l, "n1")
	time.Sleep(3 * settle)
	if beside.datapath == "system" {
		w.end(t)
		other.End(t, traffic.Span{})
		return
	}
	w.endBeside(t, other)
}

// TestVswitchdRestartsInUserspace: the outage is Open vSwitch's own. (On the kernel's
// datapath nothing is lost: test/kernel.)
func TestVswitchdRestartsInUserspace(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual, Datapath: lab.NetdevDatapath})
	serveAll(t, l)
	beside := addStatic(t, l)
	for _, c := range []struct {
		name string
		end  func() error
	}{
		{"killed", func() error { return l.Kill(testContext(t), "n1", lab.Vswitchd) }},
		{"told to exit", func() error {
			_, err := l.Exec(testContext(t), "node/n1", "ovs-appctl", "exit")
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, other := begin(t, l), beside.ping(t)
			other.Begin()
			time.Sleep(settle)
			if err := c.end(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "ovs-vswitchd has ended", func() error {
				if node(t, l, "n1").PIDs.Vswitchd != 0 {
					return errNotYet
				}
				return nil
			})
			if err := l.Start(testContext(t), "n1", lab.Vswitchd); err != nil {
				t.Fatal(err)
			}
			beside.reload(t)
			ready(t, l, "n1")
			time.Sleep(3 * settle)
			w.endBeside(t, other)
		})
	}
}
