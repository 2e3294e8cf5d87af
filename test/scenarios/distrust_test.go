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

// geneveFrame is a tunnel packet that carries a datagram of the inner addresses.
func geneveFrame(t *testing.T, srcMAC, dstMAC net.HardwareAddr, src, dst, innerSrc, innerDst netip.Addr, text string) []byte {
	t.Helper()
	inner := udpFrame(t, render.RouterMAC, render.MAC(innerDst), innerSrc, innerDst, 9, text)
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	udp := &layers.UDP{SrcPort: 54321, DstPort: 6081}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, &layers.Ethernet{SrcMAC: srcMAC, DstMAC: dstMAC, EthernetType: layers.EthernetTypeIPv4}, ip, udp,
		&layers.Geneve{Protocol: layers.EthernetTypeTransparentEthernetBridging}, gopacket.Payload(inner))
}

// notHeard is what counts as never: what arrives does so within a millisecond.
const notHeard = 100 * time.Millisecond

// refused sends a frame that must be dropped and counted on the node, and that none of
// the listeners may hear.
func refused(t *testing.T, n lab.NodeListing, owner string, rule flows.Rule, send func(text string), listeners ...*device) {
	t.Helper()
	before, text := dropped(t, n, owner, rule), unique("forged")
	send(text)
	eventually(t, "the drop is counted: "+rule.String(), func() error {
		if dropped(t, n, owner, rule) > before {
			return nil
		}
		return errNotYet
	})
	for _, l := range listeners {
		if l.hear(t, notHeard, payload(text)) {
			t.Error("the packet arrived")
		}
	}
}

// TestATunnelIsBelievedFromItsNodeOnly: what comes to the tunnel's port reaches a pod if it
// comes from a known Node's address and bears a source of that Node's, and not otherwise.
func TestATunnelIsBelievedFromItsNodeOnly(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n1, n2, out := node(t, l, "n1"), node(t, l, "n2"), outsideOf(t, l)
	a1, b1, a2 := pod(t, l, "a1"), pod(t, l, "b1"), pod(t, l, "a2")
	victim, other, host := openDevice(t, a1.Netns, "eth0"), openDevice(t, b1.Netns, "eth0"), openDevice(t, n1.Netns, "sluice0")
	to, mac := n1.Addresses[0], openDevice(t, n1.Netns, "phy").mac
	addr := netip.MustParseAddr
	for _, from := range []struct {
		name  string
		wire  *device
		outer netip.Addr
		inner []netip.Addr // that are not believed
	}{
		{"outside", openDevice(t, out.Netns, "eth0"), out.Addresses[0], []netip.Addr{a2.Addresses[0], b1.Addresses[0], addr("192.0.2.1")}},
		{"outside, with an address that nobody has", openDevice(t, out.Netns, "eth0"), addr("10.9.0.77"), []netip.Addr{a2.Addresses[0]}},
		{
			"another node", openDevice(t, n2.Netns, "phy"), n2.Addresses[0],
			[]netip.Addr{b1.Addresses[0], addr("10.244.1.1"), addr("10.244.3.2"), n1.Addresses[0], n2.Addresses[0], out.Addresses[0], addr("127.0.0.1")},
		},
	} {
		t.Run(from.name, func(t *testing.T) {
			for _, inner := range from.inner {
				refused(t, n1, "pipeline", flows.RuleForeignTunnel, func(text string) {
					from.wire.send(t, geneveFrame(t, from.wire.mac, mac, from.outer, to, inner, a1.Addresses[0], text))
				}, victim, other, host)
			}
		})
	}
	t.Run("what is believed", func(t *testing.T) {
		wire, text := openDevice(t, n2.Netns, "phy"), unique("honest")
		wire.send(t, geneveFrame(t, wire.mac, mac, n2.Addresses[0], to, a2.Addresses[0], a1.Addresses[0], text))
		if !victim.hear(t, 5*time.Second, payload(text)) {
			t.Error("a node's packet with its own pod's address does not arrive: the rest of this test proves nothing")
		}
		refused(t, n1, "pipeline", flows.RuleNotHere, func(text string) {
			wire.send(t, geneveFrame(t, wire.mac, mac, n2.Addresses[0], to, a2.Addresses[0], out.Addresses[0], text))
		}, victim, other, host)
	})
}

// TestAPodReachesNoTunnelPort: not its own node's, not another's, by none of their
// addresses. What it sends there would leave with a node's address.
func TestAPodReachesNoTunnelPort(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n1, n2 := node(t, l, "n1"), node(t, l, "n2")
	a1, b1, a2 := pod(t, l, "a1"), pod(t, l, "b1"), pod(t, l, "a2")
	from := openDevice(t, a1.Netns, "eth0")
	listeners := []*device{openDevice(t, b1.Netns, "eth0"), openDevice(t, a2.Netns, "eth0"), openDevice(t, n2.Netns, "sluice0"), openDevice(t, n1.Netns, "sluice0")}
	for _, c := range []struct {
		name       string
		to         netip.Addr
		counted    lab.NodeListing
		inner, dst netip.Addr
	}{
		{"its own node's", n1.Addresses[0], n1, a2.Addresses[0], b1.Addresses[0]},
		{"its own node's, by the gateway's address", netip.MustParseAddr("10.244.1.1"), n1, a2.Addresses[0], b1.Addresses[0]},
		{"another node's", n2.Addresses[0], n1, b1.Addresses[0], a2.Addresses[0]},
		{"another node's, by its gateway's address", netip.MustParseAddr("10.244.2.1"), n2, b1.Addresses[0], a2.Addresses[0]},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := listeners
			if c.counted.Name == "n2" { // on its way there is no telling what it is: it passes no host
				own = listeners[:3]
			}
			refused(t, c.counted, "pipeline", flows.RuleTunnelPort, func(text string) {
				from.send(t, geneveFrame(t, from.mac, render.RouterMAC, a1.Addresses[0], c.to, c.inner, c.dst, text))
			}, own...)
		})
	}
	text := unique("another port")
	from.send(t, udpFrame(t, from.mac, render.RouterMAC, a1.Addresses[0], n1.Addresses[0], 6082, text))
	if !listeners[3].hear(t, 5*time.Second, payload(text)) {
		t.Error("another port is not reached either: the rest of this test proves nothing")
	}
}

// ipFrame is a packet of any protocol to another pod, by the router.
func ipFrame(t *testing.T, mac net.HardwareAddr, src, dst netip.Addr, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: mac, DstMAC: render.RouterMAC, EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.SerializableLayer = &layers.IPv4{Version: 4, TTL: 255, Protocol: layers.IPProtocolICMPv4, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if src.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		v6 := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		ip = v6
		for _, p := range parts {
			switch p := p.(type) {
			case *layers.IPv6HopByHop:
				v6.NextHeader = layers.IPProtocolIPv6HopByHop
			case *layers.ICMPv6:
				if err := p.SetNetworkLayerForChecksum(v6); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return serialize(t, append([]gopacket.SerializableLayer{eth, ip}, parts...)...)
}

// TestAPodIsNoRouter: redirects, router advertisements and others' neighbour
// advertisements of a pod reach nobody, in whatever wrapping.
func TestAPodIsNoRouter(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n1, n2 := node(t, l, "n1"), node(t, l, "n2")
	a1, b1, a2 := pod(t, l, "a1"), pod(t, l, "b1"), pod(t, l, "a2")
	from := openDevice(t, a1.Netns, "eth0")
	listeners := []*device{
		openDevice(t, b1.Netns, "eth0"), openDevice(t, a2.Netns, "eth0"), openDevice(t, n1.Netns, "sluice0"), openDevice(t, n2.Netns, "phy"),
	}
	own, link, far, all := a1.Addresses[0], netip.MustParseAddr("fe80::858:aff:fef4:102"), netip.MustParseAddr("fd00:1::3"), netip.MustParseAddr("ff02::1")
	v4 := func(typ, code uint8, dst netip.Addr) func(string) []byte {
		return func(text string) []byte {
			return ipFrame(t, from.mac, own, dst, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code)}, gopacket.Payload(text))
		}
	}
	v6 := func(typ uint8, src, dst netip.Addr, before ...gopacket.SerializableLayer) func(string) []byte {
		return func(text string) []byte {
			body := append(make([]byte, 16), text...) // flags and target, or what else comes first
			before = append(before, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}, gopacket.Payload(body))
			return ipFrame(t, from.mac, src, dst, before...)
		}
	}
	hop := func() gopacket.SerializableLayer {
		h := &layers.IPv6HopByHop{}
		h.NextHeader = layers.IPProtocolICMPv6
		h.Options = []*layers.IPv6HopByHopOption{{OptionType: 1, OptionLength: 4, OptionData: make([]byte, 4)}}
		return h
	}
	for _, c := range []struct {
		name  string
		frame func(text string) []byte
		rule  flows.Rule
	}{
		{"a redirect to a pod of its node", v4(5, 1, b1.Addresses[0]), flows.RuleRedirect},
		{"a redirect to a pod of another", v4(5, 0, a2.Addresses[0]), flows.RuleRedirect},
		{"a redirect to its node", v4(5, 1, n1.Addresses[0]), flows.RuleRedirect},
		{"a redirect to another node", v4(5, 1, n2.Addresses[0]), flows.RuleRedirect},
		{"an IPv4 router advertisement", v4(9, 0, b1.Addresses[0]), flows.RuleRedirect},
		{"an IPv6 router advertisement to all", v6(134, link, all), flows.RuleRedirect},
		{"an IPv6 router advertisement to a pod", v6(134, link, far), flows.RuleRedirect},
		{"behind another header", v6(134, link, far, hop()), flows.RuleRedirect},
		{"an IPv6 redirect", v6(137, link, far), flows.RuleRedirect},
		{"a neighbour advertisement to all", v6(136, link, all), flows.RuleForeignNA},
		{"a neighbour advertisement to a pod", v6(136, link, far), flows.RuleForeignNA},
		{"a neighbour advertisement behind another header", v6(136, link, far, hop()), flows.RuleForeignNA},
	} {
		t.Run(c.name, func(t *testing.T) {
			refused(t, n1, "pipeline", c.rule, func(text string) { from.send(t, c.frame(text)) }, listeners...)
		})
	}
	text := unique("an echo")
	from.send(t, v4(8, 0, b1.Addresses[0])(text))
	if !listeners[0].hear(t, 5*time.Second, payload(text)) {
		t.Error("an echo request does not arrive either: the rest of this test proves nothing")
	}
}
