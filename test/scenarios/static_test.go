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
	"github.com/sluice-cni/sluice/test/traffic"
)

// static is a bridge with one flow, in the same ovs-vswitchd as a node's own: what it
// loses is Open vSwitch's doing. Its two machines are 192.0.2.1 and 192.0.2.2.
type static struct {
	l        *lab.Lab
	datapath string
	from     string
}

// controlEvery is the time between two echo requests over the static flow.
const controlEvery = time.Millisecond

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
	p.Every = controlEvery
	return p
}
