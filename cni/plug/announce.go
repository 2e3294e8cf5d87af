package plug

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// announce tells the network, once, who has the address now: another container may have
// had it a moment ago, and neighbours remember its MAC for minutes. To be called on a
// thread in the container's namespace.
func announce(index int, mac net.HardwareAddr, a netip.Addr) error {
	frame := arpAnnouncement(mac, a)
	protocol := uint16(unix.ETH_P_ARP)
	if a.Is6() {
		frame, protocol = neighbourAdvertisement(mac, a), unix.ETH_P_IPV6
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer unix.Close(fd)
	to := unix.SockaddrLinklayer{Ifindex: index, Protocol: protocol<<8 | protocol>>8, Halen: 6}
	copy(to.Addr[:], frame[:6])
	return unix.Sendto(fd, frame, 0, &to)
}

// arpAnnouncement is an ARP request for the own address (RFC 5227, section 3).
func arpAnnouncement(mac net.HardwareAddr, a netip.Addr) []byte {
	f := ethernet(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, unix.ETH_P_ARP)
	f = append(f, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, their lengths, request
	f = append(f, mac...)
	f = append(f, a.AsSlice()...)
	f = append(f, 0, 0, 0, 0, 0, 0)
	return append(f, a.AsSlice()...)
}

// neighbourAdvertisement is unsolicited and overrides, to all nodes (RFC 4861, section 7.2.6).
func neighbourAdvertisement(mac net.HardwareAddr, a netip.Addr) []byte {
	all := netip.MustParseAddr("ff02::1")
	const override = 0x20
	message := append([]byte{136, 0, 0, 0, override, 0, 0, 0}, a.AsSlice()...)
	message = append(append(message, 2, 1), mac...) // option: target link-layer address
	pseudo := append(append(a.AsSlice(), all.AsSlice()...), 0, 0, 0, byte(len(message)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(message[2:], checksum(append(pseudo, message...)))
	f := ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac, unix.ETH_P_IPV6)
	f = append(f, 0x60, 0, 0, 0, 0, byte(len(message)), unix.IPPROTO_ICMPV6, 255)
	f = append(append(f, a.AsSlice()...), all.AsSlice()...)
	return append(f, message...)
}

func ethernet(to, from net.HardwareAddr, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte{}, to...), from...), kind)
}

// checksum is the Internet's (RFC 1071), of an even number of bytes.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
