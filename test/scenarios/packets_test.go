package scenarios

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/slow"
)

// device is a packet socket on a device in a namespace: it sends frames as they are
// and hears all that pass.
type device struct {
	fd, index int
	mac       net.HardwareAddr
}

func openDevice(t *testing.T, namespace, name string) *device {
	t.Helper()
	d := &device{}
	err := netns.Do(namespace, func() error {
		link, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		d.index, d.mac = link.Index, link.HardwareAddr
		all := int(htons(unix.ETH_P_ALL))
		if d.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(d.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: link.Index})
	})
	if err != nil {
		t.Fatalf("packet socket on %s in %s: %v", name, namespace, err)
	}
	t.Cleanup(func() { _ = unix.Close(d.fd) })
	return d
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (d *device) send(t *testing.T, frame []byte) {
	t.Helper()
	if err := d.write(frame); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func (d *device) write(frame []byte) error {
	return unix.Sendto(d.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: d.index, Halen: 6})
}

// hear waits for a frame that matches; false when none came in time.
func (d *device) hear(t *testing.T, wait time.Duration, match func(gopacket.Packet) bool) bool {
	t.Helper()
	end := time.Now().Add(slow.Bound(wait))
	buf := make([]byte, 65536)
	for {
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if errors.Is(err, unix.EINTR) || n == 0 {
			continue
		}
		if err != nil {
			t.Fatalf("poll: %v", err)
		}
		n, _, err = unix.Recvfrom(d.fd, buf, 0)
		if err != nil {
			t.Fatalf("receive: %v", err)
		}
		if match(gopacket.NewPacket(append([]byte(nil), buf[:n]...), layers.LayerTypeEthernet, gopacket.Default)) {
			return true
		}
	}
}

func serialize(t *testing.T, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// udpFrame is a datagram with a payload that tells it from all others.
func udpFrame(t *testing.T, srcMAC, dstMAC net.HardwareAddr, src, dst netip.Addr, port uint16, payload string) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	udp := &layers.UDP{SrcPort: 40000, DstPort: layers.UDPPort(port)}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, &layers.Ethernet{SrcMAC: srcMAC, DstMAC: dstMAC, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(payload))
}

func arpFrame(t *testing.T, op uint16, ethSrc, sha net.HardwareAddr, spa netip.Addr, tha net.HardwareAddr, tpa netip.Addr) []byte {
	t.Helper()
	dst := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	return serialize(t, &layers.Ethernet{SrcMAC: ethSrc, DstMAC: dst, EthernetType: layers.EthernetTypeARP}, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: sha, SourceProtAddress: spa.AsSlice(), DstHwAddress: tha, DstProtAddress: tpa.AsSlice(),
	})
}

// payload matches a frame that carries the text, in whatever wrapping.
func payload(text string) func(gopacket.Packet) bool {
	return func(p gopacket.Packet) bool {
		data := string(p.Data())
		for i := 0; i+len(text) <= len(data); i++ {
			if data[i:i+len(text)] == text {
				return true
			}
		}
		return false
	}
}

var serial int

// unique is a payload that no other frame carries.
func unique(what string) string {
	serial++
	return fmt.Sprintf("sluice-%s-%d-%d", what, serial, time.Now().UnixNano())
}
