//go:build kernel

package kernel

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/traffic"
)

// TestConnectionsSurviveARestart: the entries of a conntrack zone are the kernel's and
// outlive ovs-vswitchd. The pipeline has no ct() yet, so these flows are the test's:
// after the restart they let only known connections pass.
func TestConnectionsSurviveARestart(t *testing.T) {
	ovs := ovstest.Start(t)
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=system", "fail_mode=secure")
	client, server := plugIn(t, ovs, "c", "10.1.0.1/24"), plugIn(t, ovs, "s", "10.1.0.2/24")
	load := func(new string) {
		ovs.Ofctl("--bundle", "replace-flows", "br0", write(t,
			"table=0,arp,actions=output:ALL\n"+
				"table=0,ip,actions=ct(zone=100,table=1)\n"+
				"table=1,priority=2,ip,ct_state=+trk+est,actions=output:ALL\n"+
				"table=1,priority=1,ip,ct_state=+trk+new,actions="+new+"\n"))
	}
	load("ct(commit,zone=100),output:ALL")
	traffic.ServeEcho(t, server)
	s := traffic.Connect(t, "TCP through conntrack", "tcp4", client, netip.MustParseAddr("10.1.0.2"))
	s.Begin()
	entry := func() string {
		for line := range strings.Lines(ovs.Appctl("dpctl/dump-conntrack", "zone=100")) {
			if strings.Contains(line, "ESTABLISHED") {
				return line
			}
		}
		return ""
	}
	eventually(t, "the connection is known", 2*time.Second, func() error {
		if entry() == "" {
			return errors.New("it is not")
		}
		return nil
	})
	before := entry()

	ovs.Vsctl("set", "open_vswitch", ".", "other_config:flow-restore-wait=true")
	ovs.Kill(daemon.Vswitchd)
	ovs.StartVswitchd()
	load("drop")
	ovs.Vsctl("remove", "open_vswitch", ".", "other_config", "flow-restore-wait")
	if after := entry(); after != before {
		t.Errorf("the entry was\n%sand is\n%s", before, after)
	}
	time.Sleep(time.Second)
	s.End(t, traffic.Span{})
	err := netns.Do(client, func() error {
		conn, err := net.DialTimeout("tcp4", "10.1.0.2:9000", time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err == nil {
		t.Error("a new connection passes: the old one has shown nothing")
	}
}

// plugIn makes a namespace whose eth0 is a port of br0, and returns its path.
func plugIn(t *testing.T, ovs *ovstest.OVS, name, address string) string {
	t.Helper()
	pod := ovs.AddNS()
	ovs.Do(func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0"}
		file, err := os.Open(pod.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		veth.PeerNamespace = netlink.NsFd(file.Fd())
		if err := errors.Join(netlink.LinkAdd(veth), netlink.LinkSetUp(veth)); err != nil {
			t.Fatal(err)
		}
	})
	pod.Do(func() {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		addr, err := netlink.ParseAddr(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link)); err != nil {
			t.Fatal(err)
		}
	})
	ovs.Vsctl("add-port", "br0", name)
	return pod.Path
}

// write makes a file with the text and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
