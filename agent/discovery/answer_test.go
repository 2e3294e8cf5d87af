package discovery_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/sluice-cni/sluice/agent/discovery"
)

var (
	router    = netip.MustParseAddr("fe80::1")
	routerMAC = net.HardwareAddr{0x0a, 0x58, 0xa9, 0xfe, 0, 1}
	podMAC    = net.HardwareAddr{0x0a, 0x58, 0x0a, 0xf4, 1, 2}
)

// ask is a solicitation; change may spoil it before it gets its checksum.
func ask(t testing.TB, src, target string, change func(*layers.Ethernet, *layers.IPv6, *layers.ICMPv6)) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: podMAC, DstMAC: net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6}
	ip := &layers.IPv6{
		Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: net.ParseIP("ff02::1:ff00:1"),
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	if change != nil {
		change(eth, ip, icmp)
	}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, icmp,
		&layers.ICMPv6NeighborSolicitation{
			TargetAddress: netip.MustParseAddr(target).AsSlice(),
			Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: podMAC}},
		})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTheAnswerIsTheRoutersAdvertisement(t *testing.T) {
	for name, c := range map[string]struct {
		src, to string
		toMAC   net.HardwareAddr
		flags   uint8
	}{
		"to the one who asks":             {"fe80::2", "fe80::2", podMAC, 0xe0},
		"to all, if he has no address":    {"::", "ff02::1", net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, 0xa0},
		"to a global address that asks":   {"fd00::2", "fd00::2", podMAC, 0xe0},
		"to one whose frame has a filler": {"fe80::3", "fe80::3", podMAC, 0xe0},
	} {
		t.Run(name, func(t *testing.T) {
			frame, ok := discovery.Answer(append(ask(t, c.src, "fe80::1", nil), 0, 0, 0), router, routerMAC)
			if !ok {
				t.Fatal("no answer")
			}
			p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
			eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
			ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
			na, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
			if !ok || p.ErrorLayer() != nil {
				t.Fatalf("%v", p)
			}
			if eth.SrcMAC.String() != routerMAC.String() || eth.DstMAC.String() != c.toMAC.String() {
				t.Errorf("from %s to %s", eth.SrcMAC, eth.DstMAC)
			}
			if ip.HopLimit != 255 || ip.SrcIP.String() != "fe80::1" || ip.DstIP.String() != c.to || na.Flags != c.flags || na.TargetAddress.String() != "fe80::1" {
				t.Errorf("%+v %+v", ip, na)
			}
			if len(na.Options) != 1 || na.Options[0].Type != layers.ICMPv6OptTargetAddress || !bytes.Equal(na.Options[0].Data, routerMAC) {
				t.Errorf("options %+v", na.Options)
			}
			// The same bytes, with the checksum computed by somebody else.
			icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			had := icmp.Checksum
			_ = icmp.SetNetworkLayerForChecksum(ip)
			b := gopacket.NewSerializeBuffer()
			if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{ComputeChecksums: true}, icmp, na); err != nil {
				t.Fatal(err)
			}
			if icmp.Checksum != had {
				t.Errorf("checksum %#x, want %#x", had, icmp.Checksum)
			}
		})
	}
}

func TestWhatIsNoQuestionForTheRouterIsNotAnswered(t *testing.T) {
	good := ask(t, "fe80::2", "fe80::1", nil)
	spoilt := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 0x01
		return b
	}
	for name, frame := range map[string][]byte{
		"for another target": ask(t, "fe80::2", "fe80::3", nil),
		"from a router hop away": ask(t, "fe80::2", "fe80::1", func(_ *layers.Ethernet, ip *layers.IPv6, _ *layers.ICMPv6) {
			ip.HopLimit = 254
		}),
		"with a code": ask(t, "fe80::2", "fe80::1", func(_ *layers.Ethernet, _ *layers.IPv6, icmp *layers.ICMPv6) {
			icmp.TypeCode = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 1)
		}),
		"an advertisement": ask(t, "fe80::2", "fe80::1", func(_ *layers.Ethernet, _ *layers.IPv6, icmp *layers.ICMPv6) {
			icmp.TypeCode = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)
		}),
		"IPv4": ask(t, "fe80::2", "fe80::1", func(eth *layers.Ethernet, _ *layers.IPv6, _ *layers.ICMPv6) {
			eth.EthernetType = layers.EthernetTypeIPv4
		}),
		"from a multicast address":     ask(t, "ff02::2", "fe80::1", nil),
		"with a wrong checksum":        spoilt(len(good) - 1),
		"with another next header":     spoilt(20),
		"longer than it is":            spoilt(18),
		"cut":                          good[:77],
		"cut within what it announces": good[:80],
		"nothing":                      nil,
	} {
		if _, ok := discovery.Answer(frame, router, routerMAC); ok {
			t.Errorf("%s: answered", name)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(ask(f, "fe80::2", "fe80::1", nil))
	f.Fuzz(func(t *testing.T, frame []byte) {
		answer, ok := discovery.Answer(frame, router, routerMAC)
		if ok && len(answer) != 86 {
			t.Errorf("%x is answered by %x", frame, answer)
		}
	})
}
