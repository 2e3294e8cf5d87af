package scenarios

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// vsctlOn runs ovs-vsctl on a node.
func vsctlOn(t *testing.T, l *lab.Lab, n lab.NodeListing, args ...string) string {
	t.Helper()
	return strings.TrimSpace(on(t, l, "node/"+n.Name, append([]string{"ovs-vsctl", "--db=unix:" + n.OVSRunDir + "/db.sock"}, args...)...))
}

// lan makes the operator's bridge br-lan on each of these nodes, and connects the nodes'
// bridges by a cable, as the physical network would.
func lan(t *testing.T, l *lab.Lab, nodes ...lab.NodeListing) {
	t.Helper()
	for _, n := range nodes {
		vsctlOn(t, l, n, "add-br", "br-lan", "--", "set", "bridge", "br-lan", "datapath_type="+ovstest.Datapath())
	}
	for i := 1; i < len(nodes); i++ {
		on(t, l, "node/"+nodes[0].Name, "ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1", "netns", filepath.Base(nodes[i].Netns))
		for j, n := range []lab.NodeListing{nodes[0], nodes[i]} {
			end := fmt.Sprintf("lan%d", j)
			on(t, l, "node/"+n.Name, "ip", "link", "set", end, "up")
			vsctlOn(t, l, n, "add-port", "br-lan", end)
		}
	}
}

// lanConf is the configuration of a second network on br-lan.
func lanConf(n lab.NodeListing, more string) string {
	return strings.Replace(confWith(n, `"bridge":"br-lan"`+more), `"name":"sluice"`, `"name":"lan"`, 1)
}

// static is an address by the real IPAM plugin of that name.
func static(address string) string {
	return fmt.Sprintf(`,"ipam":{"type":"static","addresses":[{"address":%q}]}`, address)
}

// plugged is an ADD that must succeed.
func plugged(t *testing.T, n lab.NodeListing, c call) cniAnswer {
	t.Helper()
	reference, err := referencePlugins()
	if err != nil {
		t.Fatal(err)
	}
	c.verb, c.path = "ADD", reference
	a := cni(t, n, c)
	if a.failed {
		t.Fatalf("ADD %s: %s", c.container, a.text)
	}
	return a
}

// unplugged is its DEL.
func unplugged(t *testing.T, n lab.NodeListing, c call) {
	t.Helper()
	reference, err := referencePlugins()
	if err != nil {
		t.Fatal(err)
	}
	c.path = reference
	deleted(t, n, c)
}

// sees tells whether a ping from a namespace by an interface is answered.
func sees(t *testing.T, sandbox, ifname, address string) bool {
	t.Helper()
	return netns.Do(sandbox, func() error {
		return exec.CommandContext(testContext(t), "ping", "-c1", "-W1", "-I", ifname, address).Run()
	}) == nil
}

// TestPodsOnAnOperatorsVLAN: pods of two nodes on one VLAN of the operators' bridges talk
// at layer 2, with nobody on another VLAN, and not with br-sluice; a trunk carries what it
// names, with tags.
func TestPodsOnAnOperatorsVLAN(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Objects: []lab.Object{}})
	n1, n2 := node(t, l, "n1"), node(t, l, "n2")
	lan(t, l, n1, n2)
	before := ofctl(t, l, "node/n1", "dump-flows", "--no-stats", "unix:"+n1.OVSRunDir+"/br-lan.mgmt")
	spaces := map[string]string{}
	join := func(n lab.NodeListing, id, more string) {
		t.Helper()
		spaces[id] = ovstest.NewNamespace(t).Path
		plugged(t, n, call{container: id, netns: spaces[id], ifname: "net1", conf: lanConf(n, more)})
	}
	join(n1, "a7", `,"vlan":7`+static("10.99.0.1/24"))
	join(n2, "b7", `,"vlan":7`+static("10.99.0.2/24"))
	join(n2, "b8", `,"vlan":8`+static("10.99.0.3/24"))
	join(n1, "plain", static("10.99.0.4/24"))
	join(n2, "plain2", static("10.99.0.5/24"))
	join(n1, "trunk", `,"trunk":[7,{"minID":20,"maxID":22}]`)
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"a7", "10.99.0.2", true},
		{"b7", "10.99.0.1", true},
		{"plain", "10.99.0.5", true},
		{"a7", "10.99.0.3", false},
		{"b8", "10.99.0.1", false},
		{"b8", "10.99.0.2", false},
		{"plain", "10.99.0.1", false},
		{"plain", "10.99.0.3", false},
	} {
		if got := sees(t, spaces[c.from], "net1", c.to); got != c.want {
			t.Errorf("%s reaches %s: %v", c.from, c.to, got)
		}
	}
	// The trunk's own sub-interfaces.
	tag := func(id int, address string) {
		t.Helper()
		err := netns.Do(spaces["trunk"], func() error {
			name := fmt.Sprintf("net1.%d", id)
			for _, args := range [][]string{
				{"link", "add", "link", "net1", "name", name, "type", "vlan", "id", fmt.Sprint(id)},
				{"link", "set", name, "up"},
				{"address", "add", address, "dev", name},
			} {
				if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
					return fmt.Errorf("%v: %s", args, out)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	tag(7, "10.99.0.7/24")
	if !sees(t, spaces["trunk"], "net1.7", "10.99.0.2") {
		t.Error("the trunk does not carry VLAN 7")
	}
	tag(8, "10.99.0.8/24")
	if sees(t, spaces["trunk"], "net1.8", "10.99.0.3") {
		t.Error("the trunk carries VLAN 8, which it does not name")
	}
	// Nothing of it is on br-sluice, nor has br-lan got flows.
	if out := vsctlOn(t, l, n1, "list-ports", "br-sluice"); strings.Contains(out, "slc") {
		t.Errorf("br-sluice has ports of the second network: %s", out)
	}
	if after := ofctl(t, l, "node/n1", "dump-flows", "--no-stats", "unix:"+n1.OVSRunDir+"/br-lan.mgmt"); after != before {
		t.Errorf("br-lan's flows were\n%s and are\n%s", before, after)
	}
	onPodNetwork := ovstest.NewNamespace(t).Path
	added(t, n1, call{container: "pod", netns: onPodNetwork})
	if sees(t, onPodNetwork, "eth0", "10.99.0.1") || sees(t, onPodNetwork, "eth0", "10.99.0.4") || sees(t, spaces["plain"], "net1", gatewayOf(t, l, n1)) {
		t.Error("the second network and the pod network reach each other")
	}
	p := podsOf(t, n1)["a7"]
	if p.Bridge != "br-lan" || p.VLAN != 7 || p.State != api.PodPlugged || len(p.Addresses) != 1 || p.Addresses[0] != "10.99.0.1" {
		t.Errorf("sluicectl pods has %+v", p)
	}
	for id, n := range map[string]lab.NodeListing{"a7": n1, "b7": n2, "b8": n2, "plain": n1, "plain2": n2, "trunk": n1} {
		unplugged(t, n, call{container: id, netns: spaces[id], ifname: "net1", conf: lanConf(n, `,"vlan":7`)})
	}
	deleted(t, n1, call{container: "pod", netns: onPodNetwork})
	noTraceLeft(t, l, n1)
	noTraceLeft(t, l, n2)
}

// noTraceLeft: nothing of any attachment is left on a node.
func noTraceLeft(t *testing.T, l *lab.Lab, n lab.NodeListing) {
	t.Helper()
	eventually(t, "nothing is left", func() error {
		left := strings.ReplaceAll(trace(t, l, n), "veth lan0\n", "")
		left = strings.ReplaceAll(left, "veth lan1\n", "")
		left += vsctlOn(t, l, n, "--columns=_uuid,external_ids", "list", "QoS") + vsctlOn(t, l, n, "--columns=_uuid,external_ids", "list", "Queue")
		if ids := vsctlOn(t, l, n, "get", "open_vswitch", ".", "external_ids"); strings.Contains(ids, "sluice-moved") {
			left += ids
		}
		if left != "" {
			return errors.New(left)
		}
		return nil
	})
}

// TestThreeInterfacesOfOnePod are deleted in any order, and none disturbs another.
func TestThreeInterfacesOfOnePod(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	lan(t, l, n)
	peer := ovstest.NewNamespace(t).Path
	plugged(t, n, call{container: "peer", netns: peer, ifname: "net1", conf: lanConf(n, `,"vlan":7`+static("10.99.0.9/24"))})
	calls := map[string]call{
		"eth0": {conf: fmt.Sprintf(goodConf, n.CNISocket)},
		"net1": {conf: lanConf(n, `,"vlan":7`+static("10.99.0.1/24"))},
		"net2": {conf: strings.Replace(lanConf(n, `,"vlan":8,"ipam":{"type":"static","addresses":[{"address":"10.98.0.1/24","gateway":"10.98.0.254"}],"routes":[{"dst":"0.0.0.0/0"}]}`), `"name":"lan"`, `"name":"wan"`, 1)},
	}
	for i, order := range [][]string{{"eth0", "net1", "net2"}, {"eth0", "net2", "net1"}, {"net1", "eth0", "net2"}, {"net1", "net2", "eth0"}, {"net2", "eth0", "net1"}, {"net2", "net1", "eth0"}} {
		ns := ovstest.NewNamespace(t).Path
		there := map[string]bool{}
		for ifname, c := range calls {
			c.container, c.netns, c.ifname = fmt.Sprintf("three%d", i), ns, ifname
			calls[ifname] = c
		}
		for _, ifname := range []string{"eth0", "net1", "net2"} {
			plugged(t, n, calls[ifname])
			there[ifname] = true
		}
		for _, ifname := range order {
			unplugged(t, n, calls[ifname])
			there[ifname] = false
			if got := sees(t, ns, "net1", "10.99.0.9"); got != there["net1"] {
				t.Errorf("%v: after %s has gone net1 reaches its peer: %v", order, ifname, got)
			}
			if got := sees(t, ns, "eth0", gatewayOf(t, l, n)); got != there["eth0"] {
				t.Errorf("%v: after %s has gone eth0 reaches the node: %v", order, ifname, got)
			}
		}
	}
	unplugged(t, n, call{container: "peer", netns: peer, ifname: "net1", conf: lanConf(n, "")})
	noTraceLeft(t, l, n)
}

// spare makes a device on the node, as another network card would be.
func spare(t *testing.T, l *lab.Lab, n lab.NodeListing, name string) (mac string) {
	t.Helper()
	on(t, l, "node/"+n.Name, "ip", "link", "add", name, "mtu", "1400", "type", "macvlan")
	on(t, l, "node/"+n.Name, "ip", "link", "set", name, "up", "alias", "the operator's")
	return macOn(t, n.Netns, name)
}

func macOn(t *testing.T, sandbox, name string) (mac string) {
	t.Helper()
	err := netns.Do(sandbox, func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			mac = link.Attrs().HardwareAddr.String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

var _ = []any{net.ParseMAC, os.Getpid, time.Second, slow.Bound}
