package scenarios

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
)

// rewriteNode changes a Node's manifest on these nodes, as an API server would show it;
// an empty text takes the object away.
func rewriteNode(t *testing.T, l *lab.Lab, name string, on []string, change func(text string) string) {
	t.Helper()
	for _, n := range on {
		file := filepath.Join(node(t, l, n).ManifestsDir, "node_"+name+".yaml")
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		next := change(string(text))
		if next == "" {
			err = os.Remove(file)
		} else if err = os.WriteFile(file+".new", []byte(next), 0o600); err == nil {
			err = os.Rename(file+".new", file)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// reached waits until the pods reach each other in both directions.
func reached(t *testing.T, l *lab.Lab, a, b string) {
	t.Helper()
	from, err := lab.ParseEndpoint(a)
	if err != nil {
		t.Fatal(err)
	}
	to, err := lab.ParseEndpoint(b)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, a+" and "+b+" reach each other", func() error {
		for _, way := range [][2]lab.Endpoint{{from, to}, {to, from}} {
			results, err := l.Probe(testContext(t), lab.ProbeRequest{From: way[:1], To: way[1:], Protocol: "icmp"})
			if err != nil {
				return err
			}
			for _, r := range results {
				if !r.Reached {
					return fmt.Errorf("%s to %s: %s", r.From, r.To, r.Error)
				}
			}
		}
		return nil
	})
}

// ledTo waits until a node's flows lead to a podCIDR by one tunnel address, and by no other.
func ledTo(t *testing.T, l *lab.Lab, on string, podCIDR, address string) {
	t.Helper()
	eventually(t, on+" is led to "+podCIDR+" by "+address, func() error {
		var found []string
		for _, f := range flowsOf(t, node(t, l, on)) {
			if strings.Contains(f.Text, "nw_dst="+podCIDR) && strings.Contains(f.Text, "->tun_dst") {
				found = append(found, f.Text)
			}
		}
		if len(found) != 1 || !strings.Contains(found[0], "set_field:"+address+"->tun_dst") {
			return errors.New(strings.Join(found, "\n"))
		}
		return nil
	})
}

// TestANodeGetsAnotherAddress: its peers follow, and believe the old one no more.
func TestANodeGetsAnotherAddress(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	reached(t, l, "a1", "a2")
	n2 := node(t, l, "n2")
	device := statusOf(t, n2).Tunnel.Device
	on(t, l, "node/n2", "ip", "address", "add", "10.9.0.102/24", "dev", device)
	rewriteNode(t, l, "n2", []string{"n1", "n2"}, func(s string) string { return strings.ReplaceAll(s, "10.9.0.2", "10.9.0.102") })
	ledTo(t, l, "n1", n2.PodCIDRs[0], "10.9.0.102")
	reached(t, l, "a1", "a2")
	for _, f := range flowsOf(t, node(t, l, "n1")) {
		if strings.Contains(f.Text, "tun_src=10.9.0.2,") {
			t.Errorf("the old address is still believed: %s", f.Text)
		}
	}
	if got := statusOf(t, n2).Tunnel.LocalAddress; got != "10.9.0.102" {
		t.Errorf("n2's tunnels begin at %s", got)
	}
}

// TestANodeIsReplaced: its object is deleted and made again under its name, with the
// agent of a peer running and away; and an old object lingers beside its successor.
func TestANodeIsReplaced(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n2 := node(t, l, "n2")
	var object string
	gone := func(s string) string { object = s; return "" }
	again := func(string) string { return object }

	t.Run("while the agent runs", func(t *testing.T) {
		rewriteNode(t, l, "n2", []string{"n1"}, gone)
		eventually(t, "n1 leads nowhere", func() error {
			for _, f := range flowsOf(t, node(t, l, "n1")) {
				if strings.Contains(f.Text, "tun_dst") {
					return errors.New(f.Text)
				}
			}
			return nil
		})
		rewriteNode(t, l, "n2", []string{"n1"}, again)
		reached(t, l, "a1", "a2")
	})
	t.Run("while the agent is away", func(t *testing.T) {
		if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
		rewriteNode(t, l, "n2", []string{"n1"}, gone)
		rewriteNode(t, l, "n2", []string{"n1"}, func(string) string {
			return regexp.MustCompile(`(?m)^  uid: .*$`).ReplaceAllString(object, "  uid: another")
		})
		if err := l.Start(testContext(t), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
		reached(t, l, "a1", "a2")
	})
	t.Run("beside a lingering predecessor", func(t *testing.T) {
		old := "apiVersion: v1\nkind: Node\nmetadata: {name: an-old-one, creationTimestamp: \"2020-01-01T00:00:00Z\"}\nspec: {podCIDRs: [" +
			n2.PodCIDRs[0] + "]}\nstatus: {addresses: [{type: InternalIP, address: 10.9.0.66}], conditions: [{type: Ready, status: \"False\"}]}\n"
		rewriteNode(t, l, "an-old-one", []string{"n1"}, func(string) string { return old })
		eventually(t, "the loser is named", func() error {
			s := statusOf(t, node(t, l, "n1"))
			for _, p := range s.Problems {
				if strings.Contains(p, "an-old-one") && strings.Contains(p, "n2") {
					return nil
				}
			}
			return fmt.Errorf("problems %q", s.Problems)
		})
		ledTo(t, l, "n1", n2.PodCIDRs[0], n2.Addresses[0].String())
		reached(t, l, "a1", "a2")
		// Its successor goes: the next claim is served.
		rewriteNode(t, l, "n2", []string{"n1"}, gone)
		ledTo(t, l, "n1", n2.PodCIDRs[0], "10.9.0.66")
		rewriteNode(t, l, "n2", []string{"n1"}, again)
		reached(t, l, "a1", "a2")
		rewriteNode(t, l, "an-old-one", []string{"n1"}, func(string) string { return "" })
	})
}

// TestANodesAddressesAreTheMachinesOwn: one that is on no device is named with what is
// there, and what was in force stays; of several the first that is here is used, and any
// of them is believed.
func TestANodesAddressesAreTheMachinesOwn(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	both, n2 := []string{"n1", "n2"}, node(t, l, "n2")
	want, device := dumpFlows(t, l, n2), statusOf(t, n2).Tunnel.Device
	addresses := regexp.MustCompile(`- address: 10\.9\.0\.2\n +type: InternalIP\n`)
	var before string
	is := func(list ...string) func(string) string {
		return func(s string) string {
			if before == "" {
				before = s
			}
			if !addresses.MatchString(before) {
				t.Fatalf("no InternalIP in\n%s", before)
			}
			var text strings.Builder
			for _, a := range list {
				text.WriteString("- address: " + a + "\n    type: InternalIP\n  ")
			}
			return addresses.ReplaceAllString(before, strings.TrimSuffix(text.String(), "  "))
		}
	}
	says := func(words ...string) {
		t.Helper()
		eventually(t, "the problem is named", func() error {
			s := statusOf(t, n2)
			for _, p := range s.Problems {
				if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(p, w) }) {
					return nil
				}
			}
			return fmt.Errorf("problems %q", s.Problems)
		})
	}
	well := func() {
		t.Helper()
		eventually(t, "no problem is left", func() error {
			if s := statusOf(t, n2); len(s.Problems) > 0 || s.Input.Seen != s.Input.Installed {
				return fmt.Errorf("problems %q", s.Problems)
			}
			return nil
		})
	}

	rewriteNode(t, l, "n2", []string{"n2"}, is("10.9.0.222"))
	says("none of the Node's InternalIPs [10.9.0.222] is on a device", "addresses here: ", "10.9.0.2")
	if now := dumpFlows(t, l, n2); now != want {
		t.Errorf("the flows are\n%s\nand were\n%s", now, want)
	}
	reached(t, l, "a1", "a2")

	rewriteNode(t, l, "n2", []string{"n2"}, is("10.9.0.222", "10.9.0.2"))
	says("first InternalIP 10.9.0.222 is on no device", "10.9.0.2, on "+device)
	reached(t, l, "a1", "a2") // the other node knows nothing of it yet

	on(t, l, "node/n2", "ip", "address", "add", "10.9.0.102/24", "dev", device)
	for _, order := range [][]string{{"10.9.0.2", "10.9.0.102"}, {"10.9.0.102", "10.9.0.2"}} {
		rewriteNode(t, l, "n2", both, is(order...))
		ledTo(t, l, "n1", n2.PodCIDRs[0], order[0])
		eventually(t, "tunnels begin at the first", func() error {
			if got := statusOf(t, n2).Tunnel.LocalAddress; got != order[0] {
				return errors.New(got)
			}
			return nil
		})
		reached(t, l, "a1", "a2")
		well()
	}
	a1, a2 := pod(t, l, "a1"), pod(t, l, "a2")
	victim, wire, mac := openDevice(t, a1.Netns, "eth0"), openDevice(t, n2.Netns, "phy"), openDevice(t, node(t, l, "n1").Netns, "phy").mac
	for _, outer := range []string{"10.9.0.2", "10.9.0.102"} {
		text := unique("from " + outer)
		wire.send(t, geneveFrame(t, wire.mac, mac, netip.MustParseAddr(outer), node(t, l, "n1").Addresses[0], a2.Addresses[0], a1.Addresses[0], text))
		if !victim.hear(t, 5*time.Second, payload(text)) {
			t.Errorf("n2 is not believed from %s", outer)
		}
	}
	rewriteNode(t, l, "n2", both, is("10.9.0.2"))
	well()
}
