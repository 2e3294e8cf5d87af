package scenarios

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/ovs/rtnl"
	"github.com/sluice-cni/sluice/test/lab"
)

// TestTwoInterfacesOfOneContainer: both addresses answer, each by its own interface,
// and each goes without touching the other.
func TestTwoInterfacesOfOneContainer(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Objects: []lab.Object{}})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	addrs := map[string]netip.Addr{}
	for _, ifname := range []string{"eth0", "net1"} {
		a := cni(t, n, call{verb: "ADD", container: "c1", netns: ns, ifname: ifname})
		if a.failed {
			t.Fatal(a.text)
		}
		addrs[ifname] = netip.MustParsePrefix(a.IPs[0].Address).Addr()
	}
	answers := func(ifname string) bool {
		t.Helper()
		var all []lab.Endpoint
		for _, from := range []string{"n1", "n2"} {
			all = append(all, lab.Endpoint{Kind: lab.NodeEndpoint, Name: from})
		}
		results, err := l.Probe(testContext(t), lab.ProbeRequest{
			From: all, To: []lab.Endpoint{{Kind: lab.AddressEndpoint, Address: addrs[ifname]}}, Protocol: "icmp",
		})
		if err != nil {
			t.Fatal(err)
		}
		ok := len(results) == 2
		for _, r := range results {
			t.Logf("%s -> %s (%s): %v %s", r.From, r.To, ifname, r.Reached, r.Error)
			ok = ok && r.Reached
		}
		return ok
	}
	if !answers("eth0") || !answers("net1") {
		t.Fatal("not both interfaces answer")
	}
	if a := cni(t, n, call{verb: "DEL", container: "c1", netns: ns, ifname: "net1"}); a.failed {
		t.Fatal(a.text)
	}
	// A switch in userspace reads its tunnels' routes anew when a link goes, and may lose what comes meanwhile.
	eventually(t, "eth0 answers after net1 has gone", func() error {
		if !answers("eth0") {
			return errNotYet
		}
		return nil
	})
	eventually(t, "the rules of net1 are gone", func() error {
		return netns.Do(ns, func() error {
			rules, err := rtnl.Rules(rtnl.Here, netlink.FAMILY_V4, nil, 0)
			if len(rules) != 3 { // local, main, default
				return errNotYet
			}
			return err
		})
	})
	eventually(t, "one cable is left", func() error {
		if left := trace(t, l, n); strings.Count(left, "veth") != 1 {
			return errors.New(left)
		}
		return nil
	})
}

// TestATakenPortNumber: where Open vSwitch gives a pod's port another number than
// the one that was asked for, that one is the attachment's, and asked for from then on.
func TestATakenPortNumber(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	vsctl := func(args ...string) string {
		t.Helper()
		out, err := l.Exec(testContext(t), "node/n1", append([]string{"ovs-vsctl", "--db=unix:" + n.OVSRunDir + "/db.sock"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	vsctl("add-port", "br-sluice", "taken", "--", "set", "interface", "taken", "type=internal", "ofport_request=258")
	a := cni(t, n, call{verb: "ADD", container: "c1", netns: ns})
	if a.failed {
		t.Fatal(a.text)
	}
	var port, number string
	for _, p := range statusOf(t, n).Ports {
		if p.Kind == "pod" {
			port, number = p.Name, strconv.Itoa(p.OFPort)
		}
	}
	if number == "" || number == "258" {
		t.Fatalf("the pod's port %q has number %q", port, number)
	}
	eventually(t, "the number it has is the one that is asked for", func() error {
		if got := vsctl("get", "interface", port, "ofport_request"); got != number {
			return fmt.Errorf("asked for %s, has %s", got, number)
		}
		return nil
	})
	results, err := l.Probe(testContext(t), lab.ProbeRequest{
		From: []lab.Endpoint{{Kind: lab.NodeEndpoint, Name: "n1"}}, Protocol: "icmp",
		To: []lab.Endpoint{{Kind: lab.AddressEndpoint, Address: netip.MustParsePrefix(a.IPs[0].Address).Addr()}},
	})
	if err != nil || len(results) != 1 || !results[0].Reached {
		t.Errorf("%+v, %v", results, err)
	}
}
