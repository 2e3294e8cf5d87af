package services

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/slow"
)

// clients gives the machine outside, which is led here, that many addresses of each family; each is a client of its own.
// (The host is one, with whatever address.)
func (n *node) clients(count int) map[string][]netip.Addr {
	n.t.Helper()
	n.ip(n.outside, "route add default via 10.9.0.1")
	n.ip(n.outside, "route add default via fd09::1")
	out := map[string][]netip.Addr{}
	for i := range count {
		for family, text := range map[string]string{"4": fmt.Sprintf("10.9.7.%d/32", i+1), "6": fmt.Sprintf("fd09:7::%x/128", i+1)} {
			n.ip(n.outside, "addr add "+text+" dev lo")
			out[family] = append(out[family], netip.MustParsePrefix(text).Addr())
		}
	}
	return out
}

// backendsOf lets each client open a connection, and says who answered it.
func (n *node) backendsOf(network string, clients map[string][]netip.Addr) map[netip.Addr]string {
	n.t.Helper()
	out := map[netip.Addr]string{}
	for _, client := range clients[network[3:]] {
		out[client] = n.backendOf(client, network)
	}
	return out
}

func (n *node) backendOf(client netip.Addr, network string) string {
	n.t.Helper()
	var c net.Conn
	n.must(netns.Do(n.outside.Path, func() (err error) {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: client.AsSlice()}}
		if strings.HasPrefix(network, "udp") {
			d.LocalAddr = &net.UDPAddr{IP: client.AsSlice()}
		}
		c, err = d.DialContext(n.t.Context(), network, virtual(network, 1, 80))
		return err
	}))
	defer c.Close()
	name, _, _ := strings.Cut(answerOn(c, patience), " ")
	return name
}

// moved are the clients that have another backend than before.
func moved(before, now map[netip.Addr]string) map[netip.Addr]string {
	out := maps.Clone(now)
	maps.DeleteFunc(out, func(client netip.Addr, backend string) bool { return before[client] == backend })
	return out
}

// learned are the lines of what the switch has learned; only by this version do they tell of hard_age.
func (n *node) learned() (out []string) {
	for line := range strings.Lines(n.ovs.Ofctl("-O", "OpenFlow10", "dump-flows", "br-sluice", "table=21")) {
		if strings.Contains(line, "hard_timeout=") {
			out = append(out, line)
		}
	}
	return out
}

// TestAClientKeepsItsBackend when others come and go, and when the agent is another one; without its own,
// it is given one that there is.
func TestAClientKeepsItsBackend(t *testing.T) {
	n := newNode(t)
	for _, backend := range []string{"a", "b", "c"} {
		n.serve(backend, 8080)
	}
	clients := n.clients(20)
	n.addService(1, "a", "b")
	n.state.Services[0].Affinity = 3600
	n.put()
	was := map[string]map[netip.Addr]string{}
	for _, network := range networks {
		was[network] = n.backendsOf(network, clients)
		seen := map[string]int{}
		for _, backend := range was[network] {
			seen[backend]++
		}
		// 20 fair throws do not reach both in 1 of 500,000 cases; the addresses are the same each time.
		if seen["a"] == 0 || seen["b"] == 0 || seen["a"]+seen["b"] != 20 {
			t.Fatalf("%s: %v", network, seen)
		}
	}
	stays := func(when string) {
		t.Helper()
		for _, network := range networks {
			if m := moved(was[network], n.backendsOf(network, clients)); len(m) > 0 {
				t.Errorf("%s: %s: moved: %v", when, network, m)
			}
		}
	}
	stays("with nothing changed")
	n.setBackends(1, "a", "b", "c")
	n.put()
	stays("with a third backend")
	before := len(n.learned())
	n.rec.Close()
	n.reconciler()
	n.put()
	if now := len(n.learned()); now != before || n.rec.Repaired() != 0 {
		t.Errorf("another agent: %d learned flows, before %d; %d repaired", now, before, n.rec.Repaired())
	}
	stays("with another agent")
	n.setBackends(1, "b", "c")
	n.put()
	n.ovs.Appctl("revalidator/purge") // what has changed is in force once cached flows are gone
	for _, network := range networks {
		now := n.backendsOf(network, clients)
		for client, backend := range now {
			if want := was[network][client]; want == "b" && backend != "b" || backend != "b" && backend != "c" {
				t.Errorf("%s: without a backend %s is given %s, before %s", network, client, backend, want)
			}
		}
		was[network] = now
	}
	n.setBackends(1, "a", "b", "c")
	n.put()
	stays("with the first backend again")
}

// TestAClientIsForgotten when it has opened no connection for as long as the Service says; each new
// connection counts.
func TestAClientIsForgotten(t *testing.T) {
	n := newNode(t)
	n.serve("a", 8080)
	client := n.clients(1)["4"][0]
	for i, seconds := range []int32{600, 1} {
		n.addService(i+1, "a")
		n.state.Services[i].Affinity = seconds
	}
	n.put()
	n.backendOf(client, "tcp4")
	age := regexp.MustCompile(`hard_timeout=600, .*\bhard_age=(\d+)`) // not there while it is as old as the flow
	renewed := func() bool {
		return len(n.learned()) == 1 && age.MatchString(n.learned()[0])
	}
	// The switch counts in whole seconds.
	await(t, "a second to pass", func() bool { return !strings.Contains(n.learned()[0], "duration=0.") })
	n.backendOf(client, "tcp4")
	await(t, "the client's time to begin anew", renewed)
	n.ask("b", "tcp4", virtual("tcp4", 2, 80))
	await(t, "the client of a second to be forgotten", func() bool { return len(n.learned()) == 1 })
}

// await polls until it is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(slow.Bound(20 * time.Second)); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// TestTheLongestAffinityIsCutToWhatASwitchTakes: flows expire after 65,535 seconds at most, and the API allows 86,400.
func TestTheLongestAffinityIsCutToWhatASwitchTakes(t *testing.T) {
	n := newNode(t)
	n.serve("a", 8080)
	n.addService(1, "a")
	n.state.Services[0].Affinity = 86400
	n.put()
	n.ask("b", "tcp4", virtual("tcp4", 1, 80))
	if l := n.learned(); len(l) != 1 || !strings.Contains(l[0], "hard_timeout="+strconv.Itoa(65535)) {
		t.Errorf("learned: %q", l)
	}
}
