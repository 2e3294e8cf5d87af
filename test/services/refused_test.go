package services

import (
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/netns"
)

// TestNobodyServes: what no backend serves is refused at once, to pods and to the host; nothing leaves the
// machine, and nothing is remembered where connections are.
func TestNobodyServes(t *testing.T) {
	n := newNode(t)
	n.state.Config.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd96::/112")}
	n.serve("b", 8080)
	n.addService(1)
	n.addService(2, "b")
	n.put()
	n.nft(n.outside, "add table inet seen", "add chain inet seen here { type filter hook prerouting priority -400; }",
		"add rule inet seen here ip daddr 10.96.0.0/16 counter", "add rule inet seen here ip6 daddr fd96::/112 counter")
	for _, client := range []string{"a", "host"} {
		for _, network := range networks {
			for what, to := range map[string]string{
				"a Service without a backend":     virtual(network, 1, 80),
				"a port that the Service lacks":   virtual(network, 2, 81),
				"an address that no Service has":  virtual(network, 3, 80),
				"a Service's port, which answers": virtual(network, 2, 80),
			} {
				began := time.Now()
				got := n.ask(client, network, to)
				if strings.HasSuffix(what, "answers") {
					if !strings.HasPrefix(got, "b ") {
						t.Errorf("%s %s to %s: %s", network, client, what, got)
					}
				} else if took := time.Since(began); got != "refused" || took > patience/2 {
					t.Errorf("%s %s to %s: %s after %s", network, client, what, got, took)
				}
			}
		}
	}
	if out := n.nft(n.outside, "list table inet seen"); strings.Count(out, "packets 0 ") != 2 {
		t.Errorf("left the machine:\n%s", out)
	}
	for line := range strings.Lines(n.ovs.Appctl("dpctl/dump-conntrack", "zone=100")) {
		if strings.Contains(line, "dst=10.96.0.1,") || strings.Contains(line, "dst=10.96.0.3,") || strings.Contains(line, "dport=81") {
			t.Error("remembered:", line)
		}
	}
}

// TestPingOfAVirtualAddressIsRefused, since nothing there answers.
func TestPingOfAVirtualAddressIsRefused(t *testing.T) {
	n := newNode(t)
	n.addService(1, "b")
	n.put()
	for _, client := range []string{"a", "host"} {
		for _, c := range []struct {
			network, address, to string
			request, unreachable byte
		}{{"ip4:icmp", "0.0.0.0", "10.96.0.1", 8, 3}, {"ip6:ipv6-icmp", "::", "fd96::1", 128, 1}} {
			var conn net.PacketConn
			n.must(netns.Do(n.place(client).Path, func() (err error) {
				conn, err = net.ListenPacket(c.network, c.address)
				return err
			}))
			echo := []byte{c.request, 0, 0xf7, 0xff, 0, 0, 0, 0} // the kernel computes IPv6's checksum
			if c.request != 8 {
				echo[2], echo[3] = 0, 0
			}
			_, err := conn.WriteTo(echo, &net.IPAddr{IP: netip.MustParseAddr(c.to).AsSlice()})
			n.must(err)
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			answer := make([]byte, 200)
			for answer[0] != c.unreachable {
				if _, _, err := conn.ReadFrom(answer); err != nil {
					t.Errorf("%s pings %s: %v", client, c.to, err)
					break
				}
			}
			conn.Close()
		}
	}
}

// TestASocketIsServedOnceThereIsABackend: one UDP socket is refused, then answered, then moves to nobody,
// with nothing deleted by anybody in between.
func TestASocketIsServedOnceThereIsABackend(t *testing.T) {
	n := newNode(t)
	n.serve("b", 8080)
	n.addService(1)
	n.put()
	for _, client := range []string{"a", "host"} {
		for _, network := range []string{"udp4", "udp6"} {
			n.setBackends(1)
			n.put()
			c, err := n.dial(client, network, virtual(network, 1, 80))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := answerOn(c, patience); got != "refused" {
				t.Fatalf("%s %s: %s before there is a backend", network, client, got)
			}
			n.setBackends(1, "b")
			n.put()
			n.eventually(c, client+" "+network+" though there is a backend", func(got string) bool { return strings.HasPrefix(got, "b ") })
		}
	}
}

// TestWhatABackendRefuses comes back as the Service's word: its ICMP error is translated.
func TestWhatABackendRefuses(t *testing.T) {
	n := newNode(t)
	for i, backend := range []string{"a", "host", "outside"} {
		n.addService(i+1, backend) // nothing listens at 8080
	}
	n.put()
	for i, backend := range []string{"a", "host", "outside"} {
		for _, client := range []string{"a", "b", "host"} {
			for _, network := range networks {
				if got := n.ask(client, network, virtual(network, i+1, 80)); got != "refused" {
					t.Errorf("%s from %s to closed %s: %s", network, client, backend, got)
				}
			}
		}
	}
}

// nft runs commands of nft(8) in a place, and returns what the last prints.
func (n *node) nft(ns interface{ Do(func()) }, commands ...string) (out string) {
	n.t.Helper()
	for _, c := range commands {
		ns.Do(func() {
			text, err := exec.Command("nft", c).CombinedOutput()
			if err != nil {
				n.t.Fatalf("nft %s: %v: %s", c, err, text)
			}
			out = string(text)
		})
	}
	return out
}

// TestPoliciesJudgeTheBackendAndTheClient: what a Service translates is judged as what it is, in both
// directions, also while it lasts. A pod reaches itself whatever policies say.
func TestPoliciesJudgeTheBackendAndTheClient(t *testing.T) {
	n := newNode(t)
	for i, backend := range []string{"a", "b", "c"} {
		n.serve(backend, 8080)
		n.addService(i+1, backend)
	}
	only := func(app string, port uint16) []state.PolicyRule {
		return []state.PolicyRule{{
			Peers: []state.PolicyPeer{{Pods: &state.Selector{Labels: map[string]string{"app": app}}}},
			Ports: []state.PolicyPort{{Number: port}, {Number: port, Protocol: state.UDP}},
		}}
	}
	n.state.Namespaces = []state.Namespace{{Name: "shop"}}
	ingress := state.NetworkPolicy{Namespace: "shop", Name: "a", Selects: state.Selector{Labels: map[string]string{"app": "a"}}, Types: []state.Direction{state.Ingress}, Ingress: only("b", 8080)}
	egress := state.NetworkPolicy{Namespace: "shop", Name: "b", Selects: state.Selector{Labels: map[string]string{"app": "b"}}, Types: []state.Direction{state.Egress}, Egress: only("a", 8080)}
	virtualPort := ingress // allows the Service's port and not the backend's
	virtualPort.Selects, virtualPort.Name, virtualPort.Ingress = state.Selector{Labels: map[string]string{"app": "c"}}, "c", only("a", 80)
	n.state.NetworkPolicies = []state.NetworkPolicy{ingress, egress, virtualPort}
	n.put()
	answers := func(from string, to int) func(string) bool {
		return func(got string) bool { return strings.HasPrefix(got, string(rune('a'+to-1))+" ") }
	}
	silent := func(got string) bool { return got == "silence" }
	for _, network := range networks {
		for _, c := range []struct {
			from string
			to   int
			want func(string) bool
		}{
			{"b", 1, answers("b", 1)}, {"host", 1, answers("host", 1)}, {"a", 1, answers("a", 1)}, {"b", 2, answers("b", 2)}, {"a", 2, answers("a", 2)}, {"c", 3, answers("c", 3)},
			{"c", 1, silent}, {"b", 3, silent}, {"a", 3, silent},
		} {
			if got := n.askWithin(c.from, network, virtual(network, c.to, 80), c.want); !c.want(got) {
				t.Errorf("%s from %s to Service %d: %s", network, c.from, c.to, got)
			}
		}
	}
	for _, change := range []func(){
		func() { n.state.NetworkPolicies[0].Ingress = only("c", 8080) },
		func() {
			n.state.NetworkPolicies[0].Ingress = only("b", 8080)
			n.state.NetworkPolicies[1].Egress = only("c", 8080)
		},
	} {
		c, err := n.dial("b", "udp4", virtual("udp4", 1, 80))
		if err != nil {
			t.Fatal(err)
		}
		n.eventually(c, "before a policy changes", func(got string) bool { return got == "a 10.244.1.3" })
		n.state.NetworkPolicies = append([]state.NetworkPolicy(nil), n.state.NetworkPolicies...)
		change()
		n.put()
		n.eventually(c, "a connection that a policy has come to deny", func(got string) bool { return got == "silence" })
		c.Close()
		n.state.NetworkPolicies = []state.NetworkPolicy{ingress, egress, virtualPort}
		n.put()
	}
}

// eventually asks on a connection until it is answered as wanted: what has changed is in force once the switch
// has gone over its cached flows.
func (n *node) eventually(c net.Conn, what string, want func(string) bool) {
	n.t.Helper()
	deadline := time.Now().Add(2 * patience)
	for {
		got := answerOn(c, brief)
		if want(got) {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("%s: %s", what, got)
		}
	}
}

// brief is how long a client waits for what is not to come.
const brief = 300 * time.Millisecond

// askWithin is ask that waits long only for what is wanted.
func (n *node) askWithin(from, network, to string, want func(string) bool) string {
	if !want("silence") {
		return n.ask(from, network, to)
	}
	c, err := n.dialWithin(from, network, to, brief)
	if err != nil {
		return outcome(err)
	}
	defer c.Close()
	return answerOn(c, brief)
}

// TestWhatIsNotAnsweredStays with the backend that it was given to, also when the Service would choose another
// by now: a backend hears the whole of what a client says.
func TestWhatIsNotAnsweredStays(t *testing.T) {
	n := newNode(t)
	heard := make(chan string, 100)
	for _, name := range []string{"a", "b"} {
		var socket *net.UDPConn
		n.must(netns.Do(n.place(name).Path, func() (err error) {
			socket, err = net.ListenUDP("udp", &net.UDPAddr{Port: 8080})
			return err
		}))
		defer socket.Close()
		go func() {
			for buffer := make([]byte, 100); ; {
				if _, _, err := socket.ReadFrom(buffer); err != nil {
					return
				}
				heard <- name
			}
		}()
	}
	n.addService(1)
	for _, network := range []string{"udp4", "udp6"} {
		n.setBackends(1, "a")
		n.put()
		c, err := n.dial("c", network, virtual(network, 1, 80))
		n.must(err)
		defer c.Close()
		for i := range 5 {
			if _, err := c.Write([]byte("?")); err != nil {
				t.Fatal(network, err)
			}
			select {
			case got := <-heard:
				if got != "a" {
					t.Errorf("%s: datagram %d goes to %s", network, i, got)
				}
			case <-time.After(patience):
				t.Fatalf("%s: datagram %d goes nowhere", network, i)
			}
			if i == 0 {
				n.setBackends(1, "b")
				n.put()
				n.ovs.Appctl("revalidator/purge")
			}
		}
	}
}
