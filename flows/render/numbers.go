package render

import (
	"encoding/binary"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"

	"github.com/sluice-cni/sluice/flows/state"
)

// The virtual router: every pod's next hop, the same on all nodes.
var (
	// Router is its IPv4 address, link-local.
	Router = netip.AddrFrom4([4]byte{169, 254, 0, 1})
	// RouterIPv6 is its IPv6 address.
	RouterIPv6 = netip.MustParseAddr("fe80::1")
	// RouterMAC is 0a:58 and the address, as a pod's is.
	RouterMAC = MAC(Router)
)

// MAC of a pod or a gateway: 0a:58 and the IPv4 address, or the low 32 bits of
// the IPv6 one. The same each time, no collision, readable in a capture.
func MAC(a netip.Addr) net.HardwareAddr {
	b := a.AsSlice()
	return append(net.HardwareAddr{0x0a, 0x58}, b[len(b)-4:]...)
}

// Gateway is the node's own address in a podCIDR: the first after the network's.
func Gateway(podCIDR netip.Prefix) netip.Addr { return podCIDR.Masked().Addr().Next() }

// Numbers of pods' OpenFlow ports: an offset in the podCIDR
// keeps them readable, a hash serves addresses outside it.
const (
	podPortBase    = 256
	podPortOffsets = 32768
	podPortHashed  = 33024
	podPortHashes  = 32000
)

// OFPort is the port number that a pod with this first address asks for: 256 plus
// the offset in the podCIDR that holds it, else a hash of it. The number that Open
// vSwitch really gave is the attachment's.
func OFPort(a netip.Addr, podCIDRs []netip.Prefix) uint32 {
	for _, p := range podCIDRs {
		if !p.Contains(a) {
			continue
		}
		if off, ok := offset(p, a); ok && off < podPortOffsets {
			return podPortBase + uint32(off)
		}
	}
	h := fnv.New32a()
	h.Write(a.AsSlice())
	return podPortHashed + h.Sum32()%podPortHashes
}

// offset of an address in its prefix, ok if it fits into 64 bits.
func offset(p netip.Prefix, a netip.Addr) (uint64, bool) {
	base, addr := p.Masked().Addr().As16(), a.As16()
	if !slices.Equal(base[:8], addr[:8]) {
		return 0, false
	}
	return binary.BigEndian.Uint64(addr[8:]) - binary.BigEndian.Uint64(base[8:]), true
}

// Overhead of an encapsulation in bytes, over an IPv4 or IPv6 underlay: outer IP
// header, UDP, Geneve or VXLAN header, inner Ethernet header.
func Overhead(encapsulation string, ipv6 bool) int {
	const udp, header, ethernet = 8, 8, 14
	ip := 20
	if ipv6 {
		ip = 40
	}
	return ip + udp + header + ethernet // geneve without options and vxlan are alike
}

// MTU of pods and of the gateway, in bytes: as configured, or the underlay's less
// the overhead, that over IPv6 if one of the node's tunnels is; 0 if neither is known.
func MTU(s state.State) int {
	if s.Config.MTU != 0 {
		return s.Config.MTU
	}
	if s.Facts.UnderlayMTU == 0 {
		return 0
	}
	return s.Facts.UnderlayMTU - Overhead(Encapsulation(s.Config), overIPv6(s))
}

// Encapsulation in force: "geneve" unless configured otherwise.
func Encapsulation(c state.Config) string {
	if c.Encapsulation == "" {
		return "geneve"
	}
	return c.Encapsulation
}

// TunnelPort is the UDP port of an encapsulation (RFC 8926, RFC 7348).
func TunnelPort(encapsulation string) uint16 {
	if encapsulation == "vxlan" {
		return 4789
	}
	return 6081
}
