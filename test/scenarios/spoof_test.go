package scenarios

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/test/lab"
)

// dropped is how many packets of an owner a rule has dropped.
func dropped(t *testing.T, n lab.NodeListing, owner string, rule flows.Rule) uint64 {
	t.Helper()
	var sum uint64
	for _, f := range flowsOf(t, n) {
		if f.Owner == owner && f.Rule == rule.String() && f.Drops {
			sum += f.Packets
		}
	}
	return sum
}

func TestAPodSpeaksOnlyForItself(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n1 := node(t, l, "n1")
	a1, b1, a2 := pod(t, l, "a1"), pod(t, l, "b1"), pod(t, l, "a2")
	own, near, far := a1.Addresses[0], b1.Addresses[0], a2.Addresses[0]
	from := openDevice(t, a1.Netns, "eth0")
	listeners := map[netip.Addr]*device{near: openDevice(t, b1.Netns, "eth0"), far: openDevice(t, a2.Netns, "eth0")}
	router := render.RouterMAC
	foreignMAC := net.HardwareAddr{0x0a, 0x58, 0x0a, 0xf4, 0x01, 0xfe}
	nobody := netip.MustParseAddr("10.244.1.77")

	for _, to := range []netip.Addr{near, far} {
		t.Run("to "+to.String(), func(t *testing.T) {
			listener := listeners[to]
			sent := unique("honest")
			from.send(t, udpFrame(t, from.mac, router, own, to, 9, sent))
			if !listener.hear(t, 5*time.Second, payload(sent)) {
				t.Fatal("an honest packet does not arrive: the rest of this test would prove nothing")
			}
			for _, c := range []struct {
				name  string
				frame func(payload string) []byte
				rule  flows.Rule
			}{
				{"with another pod's address", func(p string) []byte { return udpFrame(t, from.mac, router, near, to, 9, p) }, flows.RuleSpoofed},
				{"with nobody's address", func(p string) []byte { return udpFrame(t, from.mac, router, nobody, to, 9, p) }, flows.RuleSpoofed},
				{"with the gateway's address", func(p string) []byte {
					return udpFrame(t, from.mac, router, netip.MustParseAddr("10.244.1.1"), to, 9, p)
				}, flows.RuleSpoofed},
				{"with the node's address", func(p string) []byte { return udpFrame(t, from.mac, router, n1.Addresses[0], to, 9, p) }, flows.RuleSpoofed},
				{"with an address of outside", func(p string) []byte {
					return udpFrame(t, from.mac, router, netip.MustParseAddr("192.0.2.1"), to, 9, p)
				}, flows.RuleSpoofed},
				{"with another MAC", func(p string) []byte { return udpFrame(t, foreignMAC, router, own, to, 9, p) }, flows.RuleSpoofed},
				{"with the router's MAC", func(p string) []byte { return udpFrame(t, router, router, own, to, 9, p) }, flows.RuleSpoofed},
			} {
				t.Run(c.name, func(t *testing.T) {
					before := dropped(t, n1, "pod default/a1", c.rule)
					sent := unique("spoofed")
					from.send(t, c.frame(sent))
					eventually(t, "the drop is counted", func() error {
						if dropped(t, n1, "pod default/a1", c.rule) > before {
							return nil
						}
						return errNotYet
					})
					if listener.hear(t, 100*time.Millisecond, payload(sent)) {
						t.Error("the packet arrived")
					}
				})
			}
		})
	}
}

func TestAPodAnswersARPOnlyForItself(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1})
	n1, a1, b1 := node(t, l, "n1"), pod(t, l, "a1"), pod(t, l, "b1")
	from, victim := openDevice(t, a1.Netns, "eth0"), openDevice(t, b1.Netns, "eth0")
	own, other := a1.Addresses[0], b1.Addresses[0]
	isARP := func(p gopacket.Packet) bool { return p.Layer(layers.LayerTypeARP) != nil }
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"an answer for the router", arpFrame(t, 2, from.mac, from.mac, render.Router, victim.mac, other)},
		{"an answer for another pod", arpFrame(t, 2, from.mac, from.mac, other, victim.mac, other)},
		{"a request in another's name", arpFrame(t, 1, from.mac, from.mac, other, make([]byte, 6), render.Router)},
		{"a request with another's hardware address inside", arpFrame(t, 1, from.mac, victim.mac, own, make([]byte, 6), render.Router)},
		{"a gratuitous announcement of another's address", arpFrame(t, 1, from.mac, from.mac, other, make([]byte, 6), other)},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := dropped(t, n1, "pod default/a1", flows.RuleSpoofedARP)
			from.send(t, c.frame)
			eventually(t, "the drop is counted", func() error {
				if dropped(t, n1, "pod default/a1", flows.RuleSpoofedARP) > before {
					return nil
				}
				return errNotYet
			})
			if victim.hear(t, 100*time.Millisecond, isARP) {
				t.Error("another pod heard ARP")
			}
		})
	}
}

// TestARPForTheRouterIsAnsweredByAFlow: a request with the pod's own addresses comes
// back as the answer, and the flow counts it.
func TestARPForTheRouterIsAnsweredByAFlow(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1})
	n1, a1 := node(t, l, "n1"), pod(t, l, "a1")
	from := openDevice(t, a1.Netns, "eth0")
	answers := func() (n uint64) {
		for _, f := range flowsOf(t, n1) {
			if f.Rule == flows.RuleRouterARP.String() {
				n += f.Packets
			}
		}
		return n
	}
	before := answers()
	from.send(t, arpFrame(t, 1, from.mac, from.mac, a1.Addresses[0], make([]byte, 6), render.Router))
	if !from.hear(t, 5*time.Second, func(p gopacket.Packet) bool {
		a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		return ok && a.Operation == 2 && net.HardwareAddr(a.SourceHwAddress).String() == render.RouterMAC.String() &&
			net.IP(a.SourceProtAddress).Equal(render.Router.AsSlice()) &&
			net.HardwareAddr(a.DstHwAddress).String() == from.mac.String() && net.IP(a.DstProtAddress).Equal(a1.Addresses[0].AsSlice())
	}) {
		t.Fatal("no answer")
	}
	eventually(t, "the flow counts it", func() error {
		if answers() > before {
			return nil
		}
		return errNotYet
	})
	for _, f := range flowsOf(t, n1) {
		if f.Rule == flows.RuleMiss.String() && f.Table == int(flows.ARP) && f.Packets > 0 {
			t.Errorf("the answer went through the miss flow: %+v", f)
		}
	}
}
