package scenarios

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/traffic"
)

// halfOpenLab is a node with a client, a pod that answers, one that lets all packets fall, and two Services: the
// silent pod's, and one that nobody serves.
func halfOpenLab(t *testing.T) *lab.Lab {
	t.Helper()
	var text strings.Builder
	for _, name := range []string{"client", "server", "silent"} {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {app: %s}}\nspec: {nodeName: n1, containers: [{name: c}]}\n", name, name)
	}
	for i, name := range []string{"silent", "nobody"} {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {clusterIPs: [10.96.0.%d], selector: {app: %s}, "+
			"ports: [{name: t, protocol: TCP, port: 80}, {name: u, protocol: UDP, port: 80}]}\n", name, i+1, name)
	}
	objects, err := lab.ParseObjects("objects.yaml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 1, Objects: objects})
	on(t, l, "default/silent", "nft", "add table inet silent; add chain inet silent in { type filter hook input priority 0; policy drop; }")
	return l
}

// zoneTimeout is what conntrack's entries have that its own commands print.
var zoneTimeout = regexp.MustCompile(`^(tcp|udp),orig=\(src=[0-9.]+,dst=([0-9.]+),.*zone=(\d+),(?:status=[^,]*,)?timeout=(\d+)`)

// halfOpen are the half-open connections to an address in a zone, counted, and the longest time that one has left.
func halfOpen(t *testing.T, l *lab.Lab, protocol, to, zone string) (count, longest int) {
	t.Helper()
	for line := range strings.Lines(on(t, l, "node/n1", "ovs-appctl", "dpctl/dump-conntrack", "-s", "zone="+zone)) {
		m := zoneTimeout.FindStringSubmatch(line)
		if m == nil || m[1] != protocol || m[2] != to || m[3] != zone {
			continue
		}
		left, err := strconv.Atoi(m[4])
		if err != nil {
			t.Fatal(err)
		}
		count, longest = count+1, max(longest, left)
	}
	return count, longest
}

// TestWhatIsNotAnsweredIsSoonForgotten: connections to a backend that is silent, and those that are refused, are in
// conntrack for a time that the agent has set, which it sets again when somebody has taken it away, and which
// ovs-vswitchd has after a restart. One that is answered stays.
func TestWhatIsNotAnsweredIsSoonForgotten(t *testing.T) {
	const sent = 2000
	l := halfOpenLab(t)
	n := node(t, l, "n1")
	client, server := pod(t, l, "default/client"), pod(t, l, "default/server")
	traffic.ServeEcho(t, server.Netns)
	stream := traffic.Connect(t, "a connection that is answered", "tcp4", client.Netns, server.Addresses[0])
	stream.Begin()
	// It fails while there is no row for the datapath.
	set := func() string {
		out, _ := l.Exec(testContext(t), "node/n1", "ovs-vsctl", "--db=unix:"+n.OVSRunDir+"/db.sock", "list-zone-tp", ovstest.Datapath())
		return string(out)
	}
	want := set()
	if strings.Count(want, "Zone:") != 2 {
		t.Fatalf("timeouts of zones: %s", want)
	}
	most := map[string]int{"tcp": 20, "udp": 30} // seconds
	look := func(when string) {
		t.Helper()
		for _, c := range []struct {
			to, zone string
			reset    bool // the kernel forgets at once what is reset before it is answered
		}{{"10.96.0.1", "100", false}, {"10.96.0.2", "300", true}} {
			before := time.Now()
			try(t.Context(), t, client, sent, func(int) netip.AddrPort { return netip.MustParseAddrPort(c.to + ":80") })
			for _, protocol := range []string{"tcp", "udp"} {
				count, longest := halfOpen(t, l, protocol, c.to, c.zone)
				traffic.Measured(t, "%s: %d connections by %s to %s left %d in zone %s, for %d s", when, sent, protocol, c.to, count, c.zone, longest)
				// What the slowest machine has forgotten before it looks, it has not kept too long.
				none := count == 0 && time.Since(before) < 5*time.Second && (!c.reset || protocol == "udp")
				if longest > most[protocol] || none {
					t.Errorf("%s: %d connections by %s to %s are in zone %s, for %d s, want at most %d s", when, count, protocol, c.to, c.zone, longest, most[protocol])
				}
			}
		}
	}
	look("at first")
	for _, spoil := range [][]string{
		{"del-zone-tp", ovstest.Datapath(), "zone=100"},
		{"clear", "Open_vSwitch", ".", "datapaths"},
	} {
		vsctlOn(t, l, n, spoil...)
		eventually(t, "timeouts are put right after "+strings.Join(spoil, " "), func() error {
			if now := set(); now != want {
				return fmt.Errorf("they are %s, were %s", now, want)
			}
			return nil
		})
	}
	stream.Stop()
	stream.End(t)
	if err := l.Kill(testContext(t), "n1", lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	restarted(t, l, n, lab.Vswitchd)
	look("after a restart of ovs-vswitchd")
}
