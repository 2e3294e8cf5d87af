package scenarios

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/rtnl"
	"github.com/sluice-cni/sluice/test/lab"
)

var errNotYet = errors.New("not yet")

// TestTheTunnelCarriesGeneve: between two nodes a pod's packet travels in UDP 6081,
// whole, from node to node.
func TestTheTunnelCarriesGeneve(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n1, n2 := node(t, l, "n1"), node(t, l, "n2")
	a1, a2 := pod(t, l, "a1"), pod(t, l, "a2")
	from := openDevice(t, a1.Netns, "eth0")
	wire := openDevice(t, n2.Netns, "phy")
	sent := unique("inner")
	from.send(t, udpFrame(t, from.mac, render.RouterMAC, a1.Addresses[0], a2.Addresses[0], 9, sent))
	if !wire.hear(t, 5*time.Second, func(p gopacket.Packet) bool {
		ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		udp, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		geneve, _ := p.Layer(layers.LayerTypeGeneve).(*layers.Geneve)
		if ip == nil || udp == nil || geneve == nil || udp.DstPort != 6081 || !payload(sent)(p) {
			return false
		}
		if !ip.SrcIP.Equal(n1.Addresses[0].AsSlice()) || !ip.DstIP.Equal(n2.Addresses[0].AsSlice()) || geneve.VNI != 0 {
			t.Errorf("the tunnel packet goes from %s to %s with VNI %d", ip.SrcIP, ip.DstIP, geneve.VNI)
		}
		inner := gopacket.NewPacket(geneve.Payload, layers.LayerTypeEthernet, gopacket.Default)
		in, _ := inner.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		return in != nil && in.SrcIP.Equal(a1.Addresses[0].AsSlice()) && in.DstIP.Equal(a2.Addresses[0].AsSlice())
	}) {
		t.Fatal("no Geneve packet with the pod's own inside was seen on the underlay")
	}
}

// TestNothingLearnsAndNoBridgeForwards: no NORMAL, FLOOD or learn action in the
// integration bridge, no Linux bridge on a node; the agent is sent nothing but
// questions for the virtual router.
func TestNothingLearnsAndNoBridgeForwards(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	for _, name := range []string{"n1", "n2"} {
		n := node(t, l, name)
		dump := ofctl(t, l, "node/"+name, "dump-flows", "unix:"+n.OVSRunDir+"/br-sluice.mgmt")
		if !strings.Contains(dump, "goto_table") {
			t.Fatalf("no flows dumped: %s", dump)
		}
		for line := range strings.Lines(dump) {
			if strings.Contains(strings.ToUpper(line), "CONTROLLER") && !strings.Contains(line, "icmp_type=135") {
				t.Errorf("%s: the agent is sent what is no question: %s", name, line)
			}
		}
		for _, word := range []string{"NORMAL", "FLOOD", "ALL", "learn("} {
			if strings.Contains(dump, word) {
				t.Errorf("%s: a flow says %s:\n%s", name, word, dump)
			}
		}
		err := netns.Do(n.Netns, func() error {
			links, err := rtnl.Links(rtnl.Here)
			for _, link := range links {
				if link.Type() == "bridge" {
					t.Errorf("%s: there is a Linux bridge, %s", name, link.Attrs().Name)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestInstalledFlowsAreTheRenderedOnes holds each node's switch against two renders
// of its state, as typed flows: one from the manifests alone, one from what
// `sluicectl state` prints.
func TestInstalledFlowsAreTheRenderedOnes(t *testing.T) {
	for _, families := range []lab.Families{lab.IPv4, lab.IPv6, lab.DualIPv6} {
		t.Run(string(families), func(t *testing.T) { installedAsRendered(t, families) })
	}
}

func installedAsRendered(t *testing.T, families lab.Families) {
	l := up(t, lab.Options{Nodes: 2, Families: families, Underlay: families})
	for _, name := range []string{"n1", "n2"} {
		n := node(t, l, name)
		installed := typed(t, l, n)
		c, err := manifests.Read(n.ManifestsDir)
		if err != nil {
			t.Fatal(err)
		}
		s := c.State(name)
		s.Attachments = render.Attachments(s)
		if len(s.Attachments) != 2 {
			t.Fatalf("%s: %d attachments derived from the manifests, want 2", name, len(s.Attachments))
		}
		compare(t, name+", from manifests", installed, render.Tables(s).Flows())

		printed, err := l.Exec(testContext(t), "node/"+name, executable("sluicectl"), "--socket", n.AgentSocket, "state")
		if err != nil {
			t.Fatal(err)
		}
		path := t.TempDir() + "/state.yaml"
		if err := os.WriteFile(path, printed, 0o600); err != nil {
			t.Fatal(err)
		}
		rendered, err := l.Exec(testContext(t), "outside", executable("sluicectl"), "render", "-f", path, "--node", name)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, name+", from its own state", installed, parse(t, string(rendered)))
	}
}

// TestRenderedLinesLoad: what render prints is what ovs-ofctl loads.
func TestRenderedLinesLoad(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1})
	n := node(t, l, "n1")
	want := typed(t, l, n)
	bridge := "unix:" + n.OVSRunDir + "/br-sluice.mgmt"
	if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	text, err := l.Exec(testContext(t), "outside", executable("sluicectl"), "render", "-f", n.ManifestsDir, "--node", "n1")
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/flows"
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"del-flows", bridge}, {"bundle", bridge, path}} {
		ofctl(t, l, "node/n1", args...)
	}
	compare(t, "loaded by ovs-ofctl", typed(t, l, n), want)
}

// typed dumps a node's switch by ovs-ofctl, independently of the agent.
func typed(t *testing.T, l *lab.Lab, n lab.NodeListing) []flows.Flow {
	t.Helper()
	return parse(t, ofctl(t, l, "node/"+n.Name, "--no-names", "dump-flows", "unix:"+n.OVSRunDir+"/br-sluice.mgmt"))
}

func parse(t *testing.T, text string) []flows.Flow {
	t.Helper()
	var out []flows.Flow
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "actions=") {
			continue
		}
		f, _, err := flows.Parse(strings.TrimPrefix(line, "flow add "))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	flows.Sort(out)
	return out
}

func compare(t *testing.T, what string, installed, rendered []flows.Flow) {
	t.Helper()
	if len(rendered) < 20 {
		t.Fatalf("%s: only %d flows", what, len(rendered))
	}
	if slices.EqualFunc(installed, rendered, flows.Flow.Equal) {
		return
	}
	for _, f := range installed {
		if !slices.ContainsFunc(rendered, f.Equal) {
			t.Errorf("%s: installed, not rendered: %s", what, f)
		}
	}
	for _, f := range rendered {
		if !slices.ContainsFunc(installed, f.Equal) {
			t.Errorf("%s: rendered, not installed: %s", what, f)
		}
	}
}
