package scenarios

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
)

// How soon what somebody else changed is put right.
const (
	switchRepaired = time.Second
	hostRepaired   = time.Second
)

// TestTheSwitchIsPutRight: whatever somebody does to the tables by hand is undone, and
// counted.
func TestTheSwitchIsPutRight(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n1 := node(t, l, "n1")
	bridge := "unix:" + n1.OVSRunDir + "/br-sluice.mgmt"
	ofctl := func(args ...string) string { t.Helper(); return ofctl(t, l, "node/n1", args...) }
	want := dumpFlows(t, l, n1)
	groups := ofctl("dump-groups", bridge)
	var route string // of n2's pods
	for f := range strings.Lines(want) {
		if strings.Contains(f, "nw_dst=10.244.2.0/24") && strings.Contains(f, "tun_dst") {
			route = strings.TrimSpace(f)
		}
	}
	if route == "" {
		t.Fatalf("no flow leads to n2's pods:\n%s", want)
	}
	key, _, _ := strings.Cut(route, " actions=")
	for _, c := range []struct {
		name    string
		disturb func()
	}{
		{"all flows deleted", func() { ofctl("del-flows", bridge) }},
		{"one flow deleted", func() { ofctl("--strict", "del-flows", bridge, matchOf(key)) }},
		{"another action under a flow's key", func() { ofctl("add-flow", bridge, key+" actions=drop") }},
		{"another cookie on a flow", func() {
			ofctl("add-flow", bridge, "cookie=0x42, "+withoutCookie(route))
		}},
		{"a foreign flow", func() { ofctl("add-flow", bridge, "table=0,priority=65000,udp,tp_dst=4242,actions=drop") }},
		{"a foreign flow with an action that is none of ours", func() {
			ofctl("add-flow", bridge, "table=8,priority=65000,ip,nw_dst=10.9.9.9,actions=note:01.02.03")
		}},
		{"a foreign flow in a table that is not used", func() { ofctl("add-flow", bridge, "table=77,priority=1,actions=drop") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := statusOf(t, n1).Flows.Repaired
			c.disturb()
			if dumpFlows(t, l, n1) == want {
				t.Log("it was put right before it could be seen")
			}
			took := within(t, switchRepaired, "the flows are what they were", func() error {
				if now := dumpFlows(t, l, n1); now != want {
					return errors.New("they are\n" + now)
				}
				return nil
			})
			t.Logf("measured: %s: put right after %d ms", c.name, took.Milliseconds())
			within(t, bound, "it is counted", func() error {
				if now := statusOf(t, n1).Flows.Repaired; now <= before {
					return fmt.Errorf("%d repaired, as before", now)
				}
				return nil
			})
		})
	}
	t.Run("a foreign group", func(t *testing.T) {
		before := statusOf(t, n1).Flows.Repaired
		ofctl("add-group", bridge, "group_id=4242,type=select,bucket=actions=drop")
		took := within(t, switchRepaired, "the groups are what they were", func() error {
			if now := ofctl("dump-groups", bridge); now != groups {
				return errors.New("they are\n" + now)
			}
			return nil
		})
		t.Logf("measured: put right after %d ms", took.Milliseconds())
		within(t, bound, "it is counted", func() error {
			if now := statusOf(t, n1).Flows.Repaired; now <= before {
				return fmt.Errorf("%d repaired, as before", now)
			}
			return nil
		})
	})
}

// dumpFlows are a node's flows without their counters, as ovs-ofctl sorts them.
func dumpFlows(t *testing.T, l *lab.Lab, n lab.NodeListing) string {
	t.Helper()
	out := ofctl(t, l, "node/"+n.Name, "--no-stats", "--no-names", "dump-flows", "unix:"+n.OVSRunDir+"/br-sluice.mgmt")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// withoutCookie is the flow's text without its cookie.
func withoutCookie(flow string) string {
	_, rest, _ := strings.Cut(strings.TrimSpace(flow), ", ")
	return rest
}

// matchOf is what `del-flows --strict` takes.
func matchOf(key string) string { return withoutCookie(key) }

// TestTheHostsSideIsPutRight: whatever somebody does to the node's own routes, rules,
// addresses, settings and devices by hand is undone, and counted.
func TestTheHostsSideIsPutRight(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual})
	n1 := node(t, l, "n1")
	run := func(argv ...string) string { t.Helper(); return on(t, l, "node/n1", argv...) }
	veth := ""
	for _, p := range statusOf(t, n1).Ports {
		if p.Pod == "default/a1" {
			veth = p.Name
		}
	}
	all := func() string {
		t.Helper()
		return strings.Join([]string{
			run("nft", "-s", "list", "table", "inet", "sluice"),
			run("ip", "route", "show", "dev", "sluice0"), run("ip", "-o", "address", "show", "dev", "sluice0", "scope", "global"),
			run("ip", "neighbour", "show", "dev", "sluice0", "nud", "permanent"), run("sysctl", "net.ipv4.ip_forward"),
			run("ip", "-6", "route", "show", "dev", "sluice0", "proto", "115"), run("sysctl", "net.ipv6.conf.all.forwarding"),
			linkLine(run("ip", "-o", "link", "show", "dev", "sluice0")), linkLine(run("ip", "-o", "link", "show", "dev", veth)),
		}, "\n")
	}
	want := all()
	for _, c := range []struct{ name, disturb string }{
		{"all rules flushed", "nft flush ruleset"},
		{"our table deleted", "nft delete table inet sluice"},
		{"a rule deleted", "nft flush chain inet sluice leaving"},
		{"a rule added to our table", "nft add rule inet sluice leaving counter"},
		{"a set flushed", "nft flush set inet sluice cluster4"},
		{"the set of IPv6 flushed", "nft flush set inet sluice cluster6"},
		{"an IPv6 route deleted", "ip -6 route del fd00:10:244:2::/64"},
		{"an IPv6 route changed", "ip -6 route replace fd00:10:244:2::/64 via fd09::fa"},
		{"the gateway's IPv6 address deleted", "ip address del fd00:10:244:1::1/128 dev sluice0"},
		{"IPv6 forwarding set back", "sysctl -w net.ipv6.conf.all.forwarding=0"},
		{"IPv6 off on the gateway", "sysctl -w net.ipv6.conf.sluice0.disable_ipv6=1"},
		{"the router's IPv6 neighbour entry changed", "ip -6 neighbour replace fe80::1 lladdr 02:00:00:00:00:03 dev sluice0 nud permanent"},
		{"a route deleted", "ip route del 10.244.2.0/24"},
		{"a route changed", "ip route replace 10.244.2.0/24 via 10.9.0.254"},
		{"the gateway's address deleted", "ip address del 10.244.1.1/32 dev sluice0"},
		{"ip_forward set back", "sysctl -w net.ipv4.ip_forward=0"},
		{"the gateway down", "ip link set sluice0 down"},
		{"the gateway's MAC changed", "ip link set sluice0 address 02:00:00:00:00:01"},
		{"the gateway's MTU changed", "ip link set sluice0 mtu 1300"},
		{"the router's neighbour entry deleted", "ip neighbour flush dev sluice0 nud permanent"},
		{"a veth's MAC changed", "ip link set " + veth + " address 02:00:00:00:00:02"},
		{"a veth's MTU changed", "ip link set " + veth + " mtu 1300"},
		{"a veth down", "ip link set " + veth + " down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := statusOf(t, n1).Host.Repaired
			run("sh", "-c", c.disturb)
			took := within(t, hostRepaired, "the host's side is what it was", func() error {
				// What is asked for may be gone at this moment.
				out, err := l.Exec(testContext(t), "node/n1", "nft", "list", "table", "inet", "sluice")
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				if now := all(); now != want {
					return errors.New("it is\n" + now + "\nand was\n" + want)
				}
				return nil
			})
			t.Logf("measured: %s: put right after %d ms", c.name, took.Milliseconds())
			if strings.Contains(c.disturb, "sluice0 mtu") {
				return // Open vSwitch itself may be the quicker, by the port's mtu_request
			}
			within(t, bound, "it is counted", func() error {
				if now := statusOf(t, n1).Host.Repaired; now <= before {
					return fmt.Errorf("%d repaired, as before", now)
				}
				return nil
			})
		})
	}
	reachesAll(t, l)
}

// linkLine is what of `ip -o link` is to stay: without counters and the queue's state.
func linkLine(text string) string {
	fields := strings.Fields(text)
	var out []string
	for i, f := range fields {
		switch {
		case i < 3, f == "mtu", f == "link/ether", i > 0 && (fields[i-1] == "mtu" || fields[i-1] == "link/ether"):
			out = append(out, f)
		}
	}
	return strings.Join(out, " ")
}

// reachesAll: everything reaches everything.
func reachesAll(t *testing.T, l *lab.Lab) {
	t.Helper()
	eventually(t, "all reach all", func() error {
		results, err := l.Probe(testContext(t), lab.ProbeRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			if !r.Reached {
				return fmt.Errorf("%+v", r)
			}
		}
		return nil
	})
}

// TestWhatIsForeignStays: rules, routes, addresses and settings that are none of ours
// are never touched, whatever else is put right beside them.
func TestWhatIsForeignStays(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1})
	n1 := node(t, l, "n1")
	run := func(argv ...string) string { t.Helper(); return on(t, l, "node/n1", argv...) }
	for _, add := range []string{
		"nft add table inet theirs",
		"nft add chain inet theirs forward { type filter hook forward priority 0 \\; }",
		"nft add rule inet theirs forward udp dport 4242 counter drop",
		"nft add table ip sluice",
		"ip link add theirs0 type veth peer name theirs1",
		"ip link set theirs0 up",
		"ip address add 198.51.100.1/24 dev theirs0",
		"ip route add 203.0.113.0/24 via 198.51.100.2",
		"ip route add 203.0.113.0/24 dev sluice0 table 77",
		"ip route add 10.244.1.0/24 dev theirs0 table 77",
		"ip route add 192.0.2.0/24 dev sluice0",
		"ip route add 10.244.1.0/24 dev theirs0 metric 4000",
		"ip rule add pref 1000 fwmark 0x77 lookup 77",
		"ip address add 198.51.100.77/32 dev sluice0",
		"sysctl -w net.ipv4.conf.sluice0.log_martians=1",
	} {
		run("sh", "-c", add)
	}
	foreign := func() string {
		t.Helper()
		return strings.Join([]string{
			run("nft", "-s", "list", "table", "inet", "theirs"), run("nft", "list", "table", "ip", "sluice"),
			run("ip", "-o", "address", "show", "scope", "global"),
			run("ip", "route", "show", "table", "all", "proto", "boot"), run("ip", "rule"), run("sysctl", "net.ipv4.conf.sluice0.log_martians"),
		}, "\n")
	}
	before := foreign()
	repaired := statusOf(t, n1).Host.Repaired
	run("nft", "flush", "chain", "inet", "sluice", "leaving")
	run("ip", "route", "del", "10.244.1.0/24", "via", "169.254.0.1")
	within(t, hostRepaired, "what is ours is put right", func() error {
		if now := statusOf(t, n1).Host.Repaired; now < repaired+2 {
			return fmt.Errorf("%d repaired, %d before", now, repaired)
		}
		return nil
	})
	if now := foreign(); now != before {
		t.Errorf("what is foreign was\n%s\nand is\n%s", before, now)
	}
}
