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

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
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
func staticIPAM(address string) string {
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
	join(n1, "a7", `,"vlan":7`+staticIPAM("10.99.0.1/24"))
	join(n2, "b7", `,"vlan":7`+staticIPAM("10.99.0.2/24"))
	join(n2, "b8", `,"vlan":8`+staticIPAM("10.99.0.3/24"))
	join(n1, "plain", staticIPAM("10.99.0.4/24"))
	join(n2, "plain2", staticIPAM("10.99.0.5/24"))
	join(n1, "six", `,"vlan":7`+staticIPAM("fd99::1/64"))
	join(n2, "six2", `,"vlan":7`+staticIPAM("fd99::2/64"))
	join(n1, "trunk", `,"trunk":[7,{"minID":20,"maxID":22}]`)
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"a7", "10.99.0.2", true},
		{"b7", "10.99.0.1", true},
		{"plain", "10.99.0.5", true},
		{"six", "fd99::2", true},
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
	trunk, b7, b8, plain2 := openDevice(t, spaces["trunk"], "net1"), openDevice(t, spaces["b7"], "net1"), openDevice(t, spaces["b8"], "net1"), openDevice(t, spaces["plain2"], "net1")
	for _, c := range []struct {
		what     string
		from, to *device
		tag      uint16
		want     bool
	}{
		{"VLAN 7 out of the trunk", trunk, b7, 7, true},
		{"VLAN 8 out of the trunk, which does not name it", trunk, b8, 8, false},
		{"no VLAN out of the trunk", trunk, plain2, 0, false},
		{"VLAN 7 into the trunk", b7, trunk, 0, true},
		{"VLAN 8 into the trunk", b8, trunk, 0, false},
		{"a tag into an access port", b7, b8, 8, false},
		{"a tag into a port without a VLAN", plain2, b8, 8, false},
	} {
		text := unique("trunk")
		c.from.send(t, broadcast(t, c.from.mac, c.tag, text))
		wait := 2 * time.Second
		if !c.want {
			wait = 300 * time.Millisecond
		}
		if got := c.to.hear(t, wait, payload(text)); got != c.want {
			t.Errorf("%s: heard %v", c.what, got)
		}
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
	for id, n := range map[string]lab.NodeListing{"a7": n1, "b7": n2, "b8": n2, "plain": n1, "plain2": n2, "six": n1, "six2": n2, "trunk": n1} {
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
	plugged(t, n, call{container: "peer", netns: peer, ifname: "net1", conf: lanConf(n, `,"vlan":7`+staticIPAM("10.99.0.9/24"))})
	calls := map[string]call{
		"eth0": {conf: fmt.Sprintf(goodConf, n.CNISocket)},
		"net1": {conf: lanConf(n, `,"vlan":7`+staticIPAM("10.99.0.1/24"))},
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

// broadcast is a frame to all with this payload, with a tag if it is not 0.
func broadcast(t *testing.T, from net.HardwareAddr, tag uint16, text string) []byte {
	t.Helper()
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	const experimental = 0x88b5 // IEEE 802, local experimental ethertype 1
	if tag == 0 {
		return serialize(t, &layers.Ethernet{SrcMAC: from, DstMAC: all, EthernetType: experimental}, gopacket.Payload(text))
	}
	return serialize(t, &layers.Ethernet{SrcMAC: from, DstMAC: all, EthernetType: layers.EthernetTypeDot1Q},
		&layers.Dot1Q{VLANIdentifier: tag, Type: experimental}, gopacket.Payload(text))
}

// TestWhatASecondNetworkNeedsIsNamed where it is missing, and nothing is left.
func TestWhatASecondNetworkNeedsIsNamed(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	ns := ovstest.NewNamespace(t).Path
	for _, c := range []struct {
		more string
		code uint
		says string
	}{
		{`"bridge":"br-none"`, 11, `bridge: Open vSwitch has no bridge "br-none": make it`},
		{`"device":"none0"`, 11, `device: the host has no device "none0"`},
		{`"device":"sluice0"`, 7, `device: expected a device that the node can do without, found "sluice0"`},
		{`"bridge":"br-sluice"`, 7, `br-sluice is Sluice's own`},
	} {
		a := cni(t, n, call{verb: "ADD", container: "c1", netns: ns, ifname: "net1", conf: confWith(n, c.more)})
		if !a.failed || a.Code != c.code || !strings.Contains(a.Msg, c.says) {
			t.Errorf("%s: %s", c.more, a.text)
		}
		noTraceLeft(t, l, n)
	}
	// An IPAM plugin that fails when the cable is there.
	lan(t, l, n)
	reference, err := referencePlugins()
	if err != nil {
		t.Fatal(err)
	}
	a := cni(t, n, call{verb: "ADD", container: "c1", netns: ns, ifname: "net1", path: reference, conf: lanConf(n, `,"ipam":{"type":"host-local","ranges":[]}`)})
	if !a.failed || !strings.Contains(a.Msg, "IPAM plugin host-local: ") {
		t.Errorf("%s", a.text)
	}
	noTraceLeft(t, l, n)
}

// TestASecondNetworkIsCollected: by GC, when its namespace is gone, and its row is put back
// when somebody deletes the port, the bridge, or all of OVSDB.
func TestASecondNetworkIsCollected(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	lan(t, l, n)
	a, b := ovstest.NewNamespace(t), ovstest.NewNamespace(t)
	conf := func(id int) string {
		return lanConf(n, `,"vlan":7,"bandwidth":{"ingressRate":50000000}`+staticIPAM(fmt.Sprintf("10.99.0.%d/24", id)))
	}
	plugged(t, n, call{container: "a", netns: a.Path, ifname: "net1", conf: conf(1)})
	plugged(t, n, call{container: "b", netns: b.Path, ifname: "net1", conf: conf(2)})
	talks := func(what string) {
		t.Helper()
		eventually(t, what, func() error {
			if !sees(t, a.Path, "net1", "10.99.0.2") {
				return errNotYet
			}
			return nil
		})
		if tag := vsctlOn(t, l, n, "get", "port", podsOf(t, n)["a"].Port, "tag"); tag != "7" {
			t.Errorf("%s: tag %s", what, tag)
		}
	}
	talks("at first")
	port := podsOf(t, n)["a"].Port
	vsctlOn(t, l, n, "set", "port", port, "tag=9")
	eventually(t, "the VLAN is put right", func() error {
		if vsctlOn(t, l, n, "get", "port", port, "tag") != "7" {
			return errNotYet
		}
		return nil
	})
	vsctlOn(t, l, n, "del-port", "br-lan", port)
	talks("after its port was deleted")
	vsctlOn(t, l, n, "del-br", "br-lan")
	lan(t, l, n)
	talks("after its bridge was deleted and made again")
	loseDatabase(t, l, n)
	lan(t, l, n)
	talks("after OVSDB was lost and the operator made its bridge again")
	gc := strings.TrimSuffix(conf(1), "}") + `,"cni.dev/valid-attachments":[{"containerID":"b","ifname":"net1"}]}`
	reference, err := referencePlugins()
	if err != nil {
		t.Fatal(err)
	}
	if g := cni(t, n, call{verb: "GC", conf: gc, path: reference}); g.failed {
		t.Error(g.text)
	}
	if p := podsOf(t, n); len(p) != 1 || p["b"].IfName != "net1" {
		t.Errorf("after GC: %+v", p)
	}
	b.Delete()
	noTraceLeft(t, l, n)
}

// TestAnADDThatIsCutShortBetweenCableAndAddress: the executable is killed while the IPAM
// plugin runs. DEL ends it, and without DEL the agent when it is old.
func TestAnADDThatIsCutShortBetweenCableAndAddress(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	lan(t, l, n)
	dir := t.TempDir()
	killer := filepath.Join(dir, "killer")
	if err := os.WriteFile(killer, []byte("#!/bin/sh\n[ $CNI_COMMAND != ADD ] || kill -9 $PPID\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := call{verb: "ADD", container: "cut", netns: ovstest.NewNamespace(t).Path, ifname: "net1", path: dir, conf: lanConf(n, `,"ipam":{"type":"killer"}`)}
	cut := func() string {
		t.Helper()
		if a := cni(t, n, c); !a.failed {
			t.Fatalf("it is not killed: %s", a.text)
		}
		p, ok := podsOf(t, n)["cut"]
		if !ok || len(p.Addresses) != 0 || p.State != api.PodPlugging {
			t.Fatalf("%+v", p)
		}
		return p.Port
	}
	cut()
	del := c
	del.verb = "DEL"
	if d := cni(t, n, del); d.failed {
		t.Error(d.text)
	}
	noTraceLeft(t, l, n)
	vsctlOn(t, l, n, "set", "port", cut(), "external_ids:sluice-created=1")
	noTraceLeft(t, l, n)
}

// TestAnAddressThatMovesIsAnnounced: a peer that knows it by its last holder's MAC talks
// to the new one at once, in both families.
func TestAnAddressThatMovesIsAnnounced(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	lan(t, l, n)
	for _, family := range [][3]string{{"10.99.0.1", "10.99.0.2", "/24"}, {"fd99::1", "fd99::2", "/64"}} {
		peer := call{container: "peer", netns: ovstest.NewNamespace(t).Path, ifname: "net1", conf: lanConf(n, staticIPAM(family[0]+family[2]))}
		plugged(t, n, peer)
		for _, id := range []string{"first", "second", "third"} {
			c := call{container: id, netns: ovstest.NewNamespace(t).Path, ifname: "net1", conf: lanConf(n, staticIPAM(family[1]+family[2]))}
			plugged(t, n, c)
			if !sees(t, peer.netns, "net1", family[1]) {
				t.Errorf("%s at %s is not reached at once", id, family[1])
			}
			unplugged(t, n, c)
		}
		unplugged(t, n, peer)
	}
	noTraceLeft(t, l, n)
}
