package flows

import "net/netip"

// Bits of CTState: what conntrack says of a packet's connection (ovs-fields(7)).
const (
	CTNew         uint64 = 0x01
	CTEstablished uint64 = 0x02
	CTRelated     uint64 = 0x04
	CTReply       uint64 = 0x08
	CTInvalid     uint64 = 0x10
	CTTracked     uint64 = 0x20
	CTSourceNAT   uint64 = 0x40
	CTDestNAT     uint64 = 0x80
)

// Tracked matches packets that conntrack has seen, with the bits of set and without those of unset.
func (m Match) Tracked(set, unset uint64) Match {
	return m.Masked(CTState, Uint(set|CTTracked), Uint(set|unset|CTTracked))
}

// IP protocols (IANA, "Assigned Internet Protocol Numbers").
const (
	ProtoICMP   uint64 = 1
	ProtoTCP    uint64 = 6
	ProtoUDP    uint64 = 17
	ProtoICMPv6 uint64 = 58
	ProtoSCTP   uint64 = 132
)

// Proto matches the IP protocol.
func (m Match) Proto(number uint64) Match { return m.Is(IPProto, Uint(number)) }

// DstPort is the field with a protocol's destination port; ok is false for one without ports.
func DstPort(proto uint64) (f Field, ok bool) {
	switch proto {
	case ProtoTCP:
		return TCPDst, true
	case ProtoUDP:
		return UDPDst, true
	case ProtoSCTP:
		return SCTPDst, true
	}
	return 0, false
}

// SrcPort is DstPort's counterpart.
func SrcPort(proto uint64) (f Field, ok bool) {
	switch proto {
	case ProtoTCP:
		return TCPSrc, true
	case ProtoUDP:
		return UDPSrc, true
	case ProtoSCTP:
		return SCTPSrc, true
	}
	return 0, false
}

// PrefixMask has the bits of a prefix, in the low 32 bits for IPv4.
func PrefixMask(p netip.Prefix) Value { return prefixMask(p.Addr().BitLen(), p.Bits()) }
