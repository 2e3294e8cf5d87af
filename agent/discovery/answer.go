package discovery

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Where things are in a neighbour solicitation behind an Ethernet and an IPv6 header
// without extensions, and in its answer (RFC 4861, sections 4.3 and 4.4).
const (
	ipAt     = 14
	icmpAt   = ipAt + 40
	targetAt = icmpAt + 8
	optionAt = targetAt + 16
	answerTo = optionAt + 8

	etherIPv6     = 0x86dd
	protoICMPv6   = 58
	hopLimit      = 255
	solicitation  = 135
	advertisement = 136

	flagRouter    = 0x80
	flagSolicited = 0x40
	flagOverride  = 0x20

	targetLinkLayerAddress = 2
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

// Answer makes of a frame with a neighbour solicitation for the router's address the
// frame that advertises its MAC. It is false for a frame that is none, or that a node
// must discard (RFC 4861, section 7.1.1).
func Answer(frame []byte, router netip.Addr, mac net.HardwareAddr) ([]byte, bool) {
	if len(frame) < optionAt || binary.BigEndian.Uint16(frame[12:]) != etherIPv6 {
		return nil, false
	}
	ip, icmp := frame[ipAt:icmpAt], frame[icmpAt:]
	length := int(binary.BigEndian.Uint16(ip[4:]))
	if ip[6] != protoICMPv6 || ip[7] != hopLimit || length < optionAt-icmpAt || length > len(icmp) {
		return nil, false
	}
	icmp = icmp[:length] // behind it may be padding
	source, _ := netip.AddrFromSlice(ip[8:24])
	target, _ := netip.AddrFromSlice(frame[targetAt:optionAt])
	if icmp[0] != solicitation || icmp[1] != 0 || target != router || source.IsMulticast() || checksum(ip, icmp) != 0 {
		return nil, false
	}
	return advertise(frame[6:12], source, router, mac), true
}

// advertise makes the frame of a solicited advertisement, or of one to all nodes if who
// asks has no address yet (it finds out whether it may have the router's).
func advertise(toMAC []byte, to, router netip.Addr, mac net.HardwareAddr) []byte {
	flags := byte(flagRouter | flagSolicited | flagOverride)
	if to.IsUnspecified() {
		flags, to, toMAC = flagRouter|flagOverride, allNodes, allNodesMAC
	}
	out := make([]byte, answerTo)
	copy(out, toMAC)
	copy(out[6:], mac)
	binary.BigEndian.PutUint16(out[12:], etherIPv6)
	ip, icmp := out[ipAt:icmpAt], out[icmpAt:]
	ip[0] = 6 << 4
	binary.BigEndian.PutUint16(ip[4:], uint16(len(icmp)))
	ip[6], ip[7] = protoICMPv6, hopLimit
	copy(ip[8:], router.AsSlice())
	copy(ip[24:], to.AsSlice())
	icmp[0], icmp[4] = advertisement, flags
	copy(out[targetAt:], router.AsSlice())
	out[optionAt], out[optionAt+1] = targetLinkLayerAddress, 1
	copy(out[optionAt+2:], mac)
	binary.BigEndian.PutUint16(icmp[2:], checksum(ip, icmp))
	return out
}

// checksum is that of an ICMPv6 message under its IPv6 header (RFC 4443, section 2.3): 0
// if the message holds the right one.
func checksum(ip, icmp []byte) uint16 {
	sum := uint32(len(icmp)) + protoICMPv6
	for _, part := range [][]byte{ip[8:40], icmp} {
		for ; len(part) > 1; part = part[2:] {
			sum += uint32(binary.BigEndian.Uint16(part))
		}
		if len(part) == 1 {
			sum += uint32(part[0]) << 8
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
