package scenarios

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// addressOf is the pod's or node's address of a family.
func addressOf(t *testing.T, addresses []netip.Addr, ipv4 bool) netip.Addr {
	t.Helper()
	for _, a := range addresses {
		if a.Is4() == ipv4 {
			return a
		}
	}
	t.Fatalf("no address of the family among %v", addresses)
	return netip.Addr{}
}

func udp6Frame(t *testing.T, srcMAC, dstMAC net.HardwareAddr, src, dst netip.Addr, from, to uint16, text string) []byte {
	t.Helper()
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	udp := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, &layers.Ethernet{SrcMAC: srcMAC, DstMAC: dstMAC, EthernetType: layers.EthernetTypeIPv6}, ip, udp, gopacket.Payload(text))
}

// icmp6Frame is a message of neighbour discovery: hop limit 255.
func icmp6Frame(t *testing.T, srcMAC, dstMAC net.HardwareAddr, src, dst netip.Addr, kind uint8, body gopacket.SerializableLayer) []byte {
	t.Helper()
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, &layers.Ethernet{SrcMAC: srcMAC, DstMAC: dstMAC, EthernetType: layers.EthernetTypeIPv6}, ip, icmp, body)
}

func linkAddress(option layers.ICMPv6Opt, mac net.HardwareAddr) layers.ICMPv6Options {
	return layers.ICMPv6Options{{Type: option, Data: mac}}
}

func solicitation(t *testing.T, ethSrc net.HardwareAddr, src, target netip.Addr) []byte {
	t.Helper()
	to := netip.MustParseAddr("ff02::1:ff00:1")
	return icmp6Frame(t, ethSrc, net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 1}, src, to, layers.ICMPv6TypeNeighborSolicitation,
		&layers.ICMPv6NeighborSolicitation{TargetAddress: target.AsSlice(), Options: linkAddress(layers.ICMPv6OptSourceAddress, ethSrc)})
}

func advertisement(t *testing.T, ethSrc, dstMAC net.HardwareAddr, src, dst, target netip.Addr) []byte {
	t.Helper()
	return icmp6Frame(t, ethSrc, dstMAC, src, dst, layers.ICMPv6TypeNeighborAdvertisement,
		&layers.ICMPv6NeighborAdvertisement{Flags: 0x60, TargetAddress: target.AsSlice(), Options: linkAddress(layers.ICMPv6OptTargetAddress, ethSrc)})
}

func countedAndUnheard(t *testing.T, n lab.NodeListing, owner string, rule flows.Rule, from, victim *device, frame []byte, heard func(gopacket.Packet) bool) {
	t.Helper()
	before := dropped(t, n, owner, rule)
	from.send(t, frame)
	eventually(t, "the drop is counted: "+rule.String(), func() error {
		if dropped(t, n, owner, rule) > before {
			return nil
		}
		return errNotYet
	})
	if victim.hear(t, 100*time.Millisecond, heard) {
		t.Error("another pod heard it")
	}
}

func TestAPodSpeaksOnlyForItselfByIPv6(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual})
	n1 := node(t, l, "n1")
	a1, b1, a2 := pod(t, l, "a1"), pod(t, l, "b1"), pod(t, l, "a2")
	own, near, far := addressOf(t, a1.Addresses, false), addressOf(t, b1.Addresses, false), addressOf(t, a2.Addresses, false)
	from := openDevice(t, a1.Netns, "eth0")
	listeners := map[netip.Addr]*device{near: openDevice(t, b1.Netns, "eth0"), far: openDevice(t, a2.Netns, "eth0")}
	foreignMAC := net.HardwareAddr{0x0a, 0x58, 0x0a, 0xf4, 0x01, 0xfe}
	for _, to := range []netip.Addr{near, far} {
		t.Run("to "+to.String(), func(t *testing.T) {
			sent := unique("honest")
			from.send(t, udp6Frame(t, from.mac, render.RouterMAC, own, to, 40000, 9, sent))
			if !listeners[to].hear(t, 5*time.Second, payload(sent)) {
				t.Fatal("an honest packet does not arrive: the rest of this test would prove nothing")
			}
			for _, c := range []struct {
				name string
				mac  net.HardwareAddr
				src  netip.Addr
			}{
				{"with another pod's address", from.mac, near},
				{"with nobody's address", from.mac, netip.MustParseAddr("fd00:10:244:1::77")},
				{"with the gateway's address", from.mac, netip.MustParseAddr("fd00:10:244:1::1")},
				{"with the node's address", from.mac, addressOf(t, n1.Addresses, false)},
				{"with an address of outside", from.mac, netip.MustParseAddr("2001:db8::1")},
				{"with another MAC", foreignMAC, own},
				{"with the router's MAC", render.RouterMAC, own},
			} {
				t.Run(c.name, func(t *testing.T) {
					sent := unique("spoofed")
					countedAndUnheard(t, n1, "pod default/a1", flows.RuleSpoofed, from, listeners[to],
						udp6Frame(t, c.mac, render.RouterMAC, c.src, to, 40000, 9, sent), payload(sent))
				})
			}
			for _, src := range []string{"fe80::1", "fe80::858:aff:fef4:103", "::"} {
				t.Run("with the link's address "+src, func(t *testing.T) {
					sent := unique("local")
					countedAndUnheard(t, n1, "pipeline", flows.RuleLinkLocal, from, listeners[to],
						udp6Frame(t, from.mac, render.RouterMAC, netip.MustParseAddr(src), to, 40000, 9, sent), payload(sent))
				})
			}
		})
	}
}

// TestAPodIsNoRouterAndNoServer: what would turn another pod's traffic reaches nobody,
// near or far, by its address or by all nodes', and is counted by its reason.
func TestAPodIsNoRouterAndNoServer(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual})
	n1, a1 := node(t, l, "n1"), pod(t, l, "a1")
	from := openDevice(t, a1.Netns, "eth0")
	own, own4 := addressOf(t, a1.Addresses, false), addressOf(t, a1.Addresses, true)
	ownLocal, router := netip.MustParseAddr("fe80::858:aff:fef4:102"), render.RouterIPv6
	for _, name := range []string{"b1", "a2"} {
		victim := openDevice(t, pod(t, l, name).Netns, "eth0")
		its, its4 := addressOf(t, pod(t, l, name).Addresses, false), addressOf(t, pod(t, l, name).Addresses, true)
		icmp6 := func(kind uint8) func(gopacket.Packet) bool {
			return func(p gopacket.Packet) bool {
				m, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
				return ok && m.TypeCode.Type() == kind
			}
		}
		redirect := &layers.ICMPv6Redirect{TargetAddress: own.AsSlice(), DestinationAddress: own.AsSlice()}
		advert := &layers.ICMPv6RouterAdvertisement{HopLimit: 64, RouterLifetime: 1800}
		for _, src := range []netip.Addr{own, ownLocal, router} {
			for _, dst := range []netip.Addr{its, netip.MustParseAddr("ff02::1")} {
				for kind, body := range map[uint8]gopacket.SerializableLayer{
					layers.ICMPv6TypeRouterAdvertisement: advert, layers.ICMPv6TypeRedirect: redirect,
				} {
					t.Run(fmt.Sprintf("type %d from %s to %s of %s", kind, src, dst, name), func(t *testing.T) {
						countedAndUnheard(t, n1, "pipeline", flows.RuleRedirect, from, victim,
							icmp6Frame(t, from.mac, render.RouterMAC, src, dst, kind, body), icmp6(kind))
					})
				}
			}
		}
		// Its own it may tell. What the switch remembers of it must not let others through.
		from.send(t, advertisement(t, from.mac, render.RouterMAC, own, its, own))
		if !victim.hear(t, 5*time.Second, icmp6(layers.ICMPv6TypeNeighborAdvertisement)) {
			t.Errorf("%s does not hear an honest advertisement", name)
		}
		for _, target := range []netip.Addr{router, its, netip.MustParseAddr("fd00:10:244:1::1")} {
			t.Run("advertises "+target.String(), func(t *testing.T) {
				countedAndUnheard(t, n1, "pipeline", flows.RuleForeignNA, from, victim,
					advertisement(t, from.mac, render.RouterMAC, own, its, target), icmp6(layers.ICMPv6TypeNeighborAdvertisement))
			})
		}
		t.Run("DHCP offer to "+name, func(t *testing.T) {
			sent := unique("offer")
			countedAndUnheard(t, n1, "pipeline", flows.RuleDHCPOffer, from, victim, dhcpOffer(t, from.mac, own4, its4, sent), payload(sent))
		})
		t.Run("DHCPv6 advertise to "+name, func(t *testing.T) {
			sent := unique("advertise")
			countedAndUnheard(t, n1, "pipeline", flows.RuleDHCPOffer, from, victim,
				udp6Frame(t, from.mac, render.RouterMAC, own, its, 547, 546, sent), payload(sent))
		})
	}
}

func dhcpOffer(t *testing.T, mac net.HardwareAddr, src, dst netip.Addr, text string) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	udp := &layers.UDP{SrcPort: 67, DstPort: 68}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, &layers.Ethernet{SrcMAC: mac, DstMAC: render.RouterMAC, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(text))
}

// isRoutersAnswer tells whether it is the router's advertisement to somebody.
func isRoutersAnswer(to net.HardwareAddr) func(gopacket.Packet) bool {
	return func(p gopacket.Packet) bool {
		eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		na, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		return ok && eth.DstMAC.String() == to.String() && na.TargetAddress.Equal(render.RouterIPv6.AsSlice()) &&
			na.Flags == 0xe0 && len(na.Options) == 1 && bytes.Equal(na.Options[0].Data, render.RouterMAC)
	}
}

// TestWhoAsksForTheRouterByIPv6IsAnswered: by the agent, also in a pod that has IPv4
// addresses alone and a kernel with IPv6; and nobody else hears of it.
func TestWhoAsksForTheRouterByIPv6IsAnswered(t *testing.T) {
	for _, families := range []lab.Families{lab.IPv4, lab.Dual} {
		t.Run(string(families), func(t *testing.T) {
			l := up(t, lab.Options{Nodes: 1, Families: families})
			n1, a1 := node(t, l, "n1"), pod(t, l, "a1")
			from, other := openDevice(t, a1.Netns, "eth0"), openDevice(t, pod(t, l, "b1").Netns, "eth0")
			local := netip.MustParseAddr("fe80::858:aff:fef4:1234")
			sources := []netip.Addr{local}
			if families == lab.Dual {
				sources = append(sources, addressOf(t, a1.Addresses, false))
			}
			for _, src := range sources {
				from.send(t, solicitation(t, from.mac, src, render.RouterIPv6))
				if !from.hear(t, 5*time.Second, isRoutersAnswer(from.mac)) {
					t.Errorf("from %s: no answer", src)
				}
			}
			foreign := netip.MustParseAddr("fd00:10:244:1::99")
			asksAs := func(src netip.Addr) func(gopacket.Packet) bool {
				return func(p gopacket.Packet) bool {
					ip, ok := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
					return ok && ip.SrcIP.Equal(src.AsSlice())
				}
			}
			t.Run("in another's name", func(t *testing.T) {
				countedAndUnheard(t, n1, "pod default/a1", flows.RuleSpoofed, from, other,
					solicitation(t, from.mac, foreign, render.RouterIPv6), asksAs(foreign))
			})
			t.Run("for another pod", func(t *testing.T) {
				countedAndUnheard(t, n1, "pipeline", flows.RuleOtherND, from, other,
					solicitation(t, from.mac, local, netip.MustParseAddr("fd00:10:244:1::3")), asksAs(local))
			})
			t.Run("with another MAC", func(t *testing.T) {
				countedAndUnheard(t, n1, "pipeline", flows.RuleLinkLocal, from, other,
					solicitation(t, render.RouterMAC, local, render.RouterIPv6), asksAs(local))
			})
		})
	}
}

// TestAPodThatForgetsItsRouterFindsItAgain, and so does the node.
func TestAPodThatForgetsItsRouterFindsItAgain(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Families: lab.IPv6})
	for place, to := range map[string]string{"a1": pod(t, l, "a2").Addresses[0].String(), "node/n1": pod(t, l, "b1").Addresses[0].String()} {
		device := map[bool]string{true: "eth0", false: "sluice0"}[place == "a1"]
		on(t, l, place, "ip", "-6", "neigh", "del", "fe80::1", "dev", device)
		on(t, l, place, "ping", "-6", "-c1", "-W3", to)
	}
}

// TestAskingAllTheTimeIsLimited: the agent is told of so many packets a second and no
// more, and goes on answering after.
func TestAskingAllTheTimeIsLimited(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1})
	n1, a1 := node(t, l, "n1"), pod(t, l, "a1")
	from := openDevice(t, a1.Netns, "eth0")
	local := netip.MustParseAddr("fe80::858:aff:fef4:1234")
	const many = 3000
	began := time.Now()
	for range many {
		from.send(t, solicitation(t, from.mac, local, render.RouterIPv6))
	}
	answers := 0
	for from.hear(t, 500*time.Millisecond, isRoutersAnswer(from.mac)) {
		answers++
	}
	if most := 200 + int(100*time.Since(began).Seconds()); answers == 0 || answers > most {
		t.Errorf("%d of %d were answered, want at most %d", answers, many, most)
	}
	if got := dropped(t, n1, "pod default/a1", flows.RuleSpoofed); got != 0 {
		t.Errorf("%d were taken for spoofed", got)
	}
	eventually(t, "an answer after the flood", func() error {
		from.send(t, solicitation(t, from.mac, local, render.RouterIPv6))
		if !from.hear(t, 200*time.Millisecond, isRoutersAnswer(from.mac)) {
			return errNotYet
		}
		return nil
	})
}

// TestAddressesOfBothFamiliesAreAskedFor: both, or one, and the other is chosen.
func TestAddressesOfBothFamiliesAreAskedFor(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Families: lab.DualIPv6, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	known(t, n, `
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: till, annotations: {sluice.dev/ips: "fd00:10:244:1::77, 10.244.1.77"}}
`)
	ns := ovstest.NewNamespace(t).Path
	for name, c := range map[string]struct {
		call call
		want []string
	}{
		"by runtimeConfig": {
			call{conf: confWith(n, `"capabilities":{"ips":true},"runtimeConfig":{"ips":["fd00:10:244:1::50/64","10.244.1.50/24"]}`)},
			[]string{"10.244.1.50", "fd00:10:244:1::50"},
		},
		"by args":            {call{conf: confWith(n, `"args":{"cni":{"ips":["10.244.1.51","fd00:10:244:1::51"]}}`)}, []string{"10.244.1.51", "fd00:10:244:1::51"}},
		"by CNI_ARGS":        {call{args: "IP=10.244.1.52,fd00:10:244:1::52"}, []string{"10.244.1.52", "fd00:10:244:1::52"}},
		"by annotation":      {call{args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=till"}, []string{"10.244.1.77", "fd00:10:244:1::77"}},
		"one of IPv6":        {call{args: "IP=fd00:10:244:1::60"}, []string{"", "fd00:10:244:1::60"}},
		"one of IPv4":        {call{args: "IP=10.244.1.61"}, []string{"10.244.1.61", ""}},
		"ranges of the conf": {call{conf: confWith(n, `"ranges":[{"subnet":"10.244.1.128/25"},{"subnet":"fd00:10:244:1:8000::/65","gateway":"fd00:10:244:1:8000::9"}]`)}, []string{"10.244.1.130", "fd00:10:244:1:8000::1"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.call.container, c.call.netns, c.call.ifname = "c1", ns, "eth0"
			got := addedAll(t, n, c.call)
			defer deleted(t, n, c.call)
			if len(got) != 2 || c.want[0] != "" && got[0] != c.want[0] || c.want[1] != "" && got[1] != c.want[1] {
				t.Errorf("addresses %v, want %v", got, c.want)
			}
			pings(t, l, n, ns)
		})
	}
	for says, ip := range map[string]string{"is outside of this node's ranges": "fd00:10:244:2::50", "is the gateway's": "fd00:10:244:1::1", "is the network's own": "fd00:10:244:1::"} {
		if a := cni(t, n, call{verb: "ADD", container: "c1", netns: ns, args: "IP=" + ip}); !a.failed || !strings.Contains(a.text, says) {
			t.Errorf("%s: %s, want %q", ip, a.text, says)
		}
	}
	nothingLeft(t, l, n)
}
