package services

import (
	"math"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/netns"
)

// many makes the Service's backends n addresses that nobody has.
func (n *node) many(i, count int) {
	n.setBackends(i)
	s := &n.state.EndpointSlices[len(n.state.EndpointSlices)-1]
	for k := range count {
		s.Endpoints = append(s.Endpoints, state.Endpoint{Address: netip.AddrFrom4([4]byte{10, 244, byte(16 + k/250), byte(1 + k%250)}), Ready: true})
	}
}

// used are the backends that conntrack has given connections of a protocol to, and how many.
func (n *node) used(protocol string) map[string]int {
	out := map[string]int{}
	for line := range strings.Lines(n.ovs.Appctl("dpctl/dump-conntrack", "zone=100")) {
		if !strings.HasPrefix(line, protocol) || !strings.Contains(line, "dst=10.96.0.1,") {
			continue
		}
		_, reply, _ := strings.Cut(line, "reply=(src=")
		backend, _, _ := strings.Cut(reply, ",")
		out[backend]++
	}
	return out
}

// TestConnectionsAreSpreadEvenly, as a fair die would by Pearson's chi-square, over connections of a
// client from as many ports, for numbers of backends that are served in each of the ways there are.
func TestConnectionsAreSpreadEvenly(t *testing.T) {
	n := newNode(t)
	n.addService(1)
	for _, count := range []int{2, 3, 10, 30, 100, 300, 2500} {
		n.many(1, count)
		n.put()
		const connections = 3000
		n.ovs.Appctl("dpctl/flush-conntrack")
		n.must(netns.Do(n.place("a").Path, func() error {
			for k := range connections {
				c, err := net.DialUDP("udp4", &net.UDPAddr{Port: 10000 + k}, &net.UDPAddr{IP: net.IPv4(10, 96, 0, 1), Port: 80})
				if err != nil {
					return err
				}
				_, err = c.Write([]byte("?"))
				c.Close()
				if err != nil {
					return err
				}
				if k%10 == 9 { // about as fast as the switch takes new ones
					time.Sleep(3 * time.Millisecond)
				}
			}
			return nil
		}))
		var used map[string]int
		total := 0
		// A datagram that the switch has no time for is lost, and says nothing about the others.
		for deadline := time.Now().Add(patience); total < connections/2 && time.Now().Before(deadline); {
			used, total = n.used("udp"), 0
			for _, k := range used {
				total += k
			}
		}
		expected := float64(total) / float64(count)
		chi := float64(count-len(used)) * expected
		for _, k := range used {
			chi += (float64(k) - expected) * (float64(k) - expected) / expected
		}
		z := (chi - float64(count-1)) / math.Sqrt(2*float64(count-1))
		t.Logf("%d backends: %d connections to %d of them, chi-square %.0f, z %.1f", count, total, len(used), chi, z)
		if total < connections/2 || z > 6 {
			t.Errorf("%d backends are served unevenly", count)
		}
	}
}

var (
	hasPort = regexp.MustCompile(`(tcp|udp)\(`)
	// withoutGuard is the one bit by which a client is told from a DHCP server.
	withoutGuard = regexp.MustCompile(`udp\(src=\d+/0x8000\)`)
)

// TestCachedFlowsOfWhoUsesNoService have no port, though the switch has Services: a pod that connects from
// hundreds of ports to another's has as many cached flows as one that connects from one.
func TestCachedFlowsOfWhoUsesNoService(t *testing.T) {
	n := newNode(t)
	for i := range 20 {
		n.addService(i+1, "a", "b")
	}
	n.serve("a", 8080)
	n.put()
	for _, network := range networks {
		to := "10.244.1.2:8080"
		if strings.HasSuffix(network, "6") {
			to = "[fd00:1::2]:8080"
		}
		for range 20 {
			if got := n.ask("b", network, to); !strings.HasPrefix(got, "a ") {
				t.Fatal(network, got)
			}
		}
	}
	cached := 0
	for line := range strings.Lines(n.ovs.Appctl("dpctl/dump-flows")) {
		if !strings.Contains(line, "eth_type(0x0800)") && !strings.Contains(line, "eth_type(0x86dd)") {
			continue
		}
		cached++
		if hasPort.MatchString(withoutGuard.ReplaceAllString(line, "")) {
			t.Errorf("a cached flow has a port: %s", line)
		}
	}
	if cached == 0 || cached > 60 {
		t.Errorf("%d cached flows", cached)
	}
}
