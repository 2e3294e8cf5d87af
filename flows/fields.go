package flows

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Field is a packet or metadata field that a match can name or an action can set.
// The constants stand in the order in which Open vSwitch prints a match.
type Field uint8

// The fields, as ovs-fields(7) describes them.
const (
	PktMark Field = iota
	ConjID
	CTState
	CTZone
	CTMark
	CTLabel
	EthType
	IPProto
	Reg0
	Reg1
	Reg2
	Reg3
	Reg4
	Reg5
	Reg6
	Reg7
	Reg8
	Reg9
	Reg10
	Reg11
	Reg12
	Reg13
	Reg14
	Reg15
	TunID
	TunSrc
	TunDst
	TunIPv6Src
	TunIPv6Dst
	Metadata
	InPort
	EthSrc
	EthDst
	IPv4Src
	IPv4Dst
	IPv6Src
	IPv6Dst
	ARPSpa
	ARPTpa
	ARPOp
	ARPSha
	ARPTha
	TPSrc
	TPDst
	ICMPType
	ICMPCode
	NDTarget
	NDSll
	NDTll
	numFields
)

// form is how Open vSwitch writes a field's value.
type form uint8

const (
	decimal form = iota
	hexadecimal
	mac
	ipv4
	ipv6
	port
	ctStateFlags
)

// fieldInfo is what is known of a field: its name in a match, its width, its form,
// the name in a set_field action where that differs, and the name in a move action.
type fieldInfo struct {
	name string
	bits int
	form form
	set  string // set_field's name; empty: as name
	nxm  string // move's and load's name
}

var fieldTable = [numFields]fieldInfo{
	PktMark:    {"pkt_mark", 32, hexadecimal, "", "NXM_NX_PKT_MARK"},
	ConjID:     {"conj_id", 32, decimal, "", "NXM_NX_CONJ_ID"},
	CTState:    {"ct_state", 32, ctStateFlags, "", "NXM_NX_CT_STATE"},
	CTZone:     {"ct_zone", 16, decimal, "", "NXM_NX_CT_ZONE"},
	CTMark:     {"ct_mark", 32, hexadecimal, "", "NXM_NX_CT_MARK"},
	CTLabel:    {"ct_label", 128, hexadecimal, "", "NXM_NX_CT_LABEL"},
	EthType:    {"dl_type", 16, hexadecimal, "eth_type", "NXM_OF_ETH_TYPE"},
	IPProto:    {"nw_proto", 8, decimal, "ip_proto", "NXM_OF_IP_PROTO"},
	Reg0:       {"reg0", 32, hexadecimal, "", "NXM_NX_REG0"},
	Reg1:       {"reg1", 32, hexadecimal, "", "NXM_NX_REG1"},
	Reg2:       {"reg2", 32, hexadecimal, "", "NXM_NX_REG2"},
	Reg3:       {"reg3", 32, hexadecimal, "", "NXM_NX_REG3"},
	Reg4:       {"reg4", 32, hexadecimal, "", "NXM_NX_REG4"},
	Reg5:       {"reg5", 32, hexadecimal, "", "NXM_NX_REG5"},
	Reg6:       {"reg6", 32, hexadecimal, "", "NXM_NX_REG6"},
	Reg7:       {"reg7", 32, hexadecimal, "", "NXM_NX_REG7"},
	Reg8:       {"reg8", 32, hexadecimal, "", "NXM_NX_REG8"},
	Reg9:       {"reg9", 32, hexadecimal, "", "NXM_NX_REG9"},
	Reg10:      {"reg10", 32, hexadecimal, "", "NXM_NX_REG10"},
	Reg11:      {"reg11", 32, hexadecimal, "", "NXM_NX_REG11"},
	Reg12:      {"reg12", 32, hexadecimal, "", "NXM_NX_REG12"},
	Reg13:      {"reg13", 32, hexadecimal, "", "NXM_NX_REG13"},
	Reg14:      {"reg14", 32, hexadecimal, "", "NXM_NX_REG14"},
	Reg15:      {"reg15", 32, hexadecimal, "", "NXM_NX_REG15"},
	TunID:      {"tun_id", 64, hexadecimal, "", "NXM_NX_TUN_ID"},
	TunSrc:     {"tun_src", 32, ipv4, "", "NXM_NX_TUN_IPV4_SRC"},
	TunDst:     {"tun_dst", 32, ipv4, "", "NXM_NX_TUN_IPV4_DST"},
	TunIPv6Src: {"tun_ipv6_src", 128, ipv6, "", "NXM_NX_TUN_IPV6_SRC"},
	TunIPv6Dst: {"tun_ipv6_dst", 128, ipv6, "", "NXM_NX_TUN_IPV6_DST"},
	Metadata:   {"metadata", 64, hexadecimal, "", "OXM_OF_METADATA"},
	InPort:     {"in_port", 32, port, "", "NXM_OF_IN_PORT"},
	EthSrc:     {"dl_src", 48, mac, "eth_src", "NXM_OF_ETH_SRC"},
	EthDst:     {"dl_dst", 48, mac, "eth_dst", "NXM_OF_ETH_DST"},
	IPv4Src:    {"nw_src", 32, ipv4, "ip_src", "NXM_OF_IP_SRC"},
	IPv4Dst:    {"nw_dst", 32, ipv4, "ip_dst", "NXM_OF_IP_DST"},
	IPv6Src:    {"ipv6_src", 128, ipv6, "", "NXM_NX_IPV6_SRC"},
	IPv6Dst:    {"ipv6_dst", 128, ipv6, "", "NXM_NX_IPV6_DST"},
	ARPSpa:     {"arp_spa", 32, ipv4, "", "NXM_OF_ARP_SPA"},
	ARPTpa:     {"arp_tpa", 32, ipv4, "", "NXM_OF_ARP_TPA"},
	ARPOp:      {"arp_op", 16, decimal, "", "NXM_OF_ARP_OP"},
	ARPSha:     {"arp_sha", 48, mac, "", "NXM_NX_ARP_SHA"},
	ARPTha:     {"arp_tha", 48, mac, "", "NXM_NX_ARP_THA"},
	TPSrc:      {"tp_src", 16, decimal, "", ""},
	TPDst:      {"tp_dst", 16, decimal, "", ""},
	ICMPType:   {"icmp_type", 8, decimal, "", "NXM_OF_ICMP_TYPE"},
	ICMPCode:   {"icmp_code", 8, decimal, "", "NXM_OF_ICMP_CODE"},
	NDTarget:   {"nd_target", 128, ipv6, "", "NXM_NX_ND_TARGET"},
	NDSll:      {"nd_sll", 48, mac, "", "NXM_NX_ND_SLL"},
	NDTll:      {"nd_tll", 48, mac, "", "NXM_NX_ND_TLL"},
}

func (i fieldInfo) setName() string {
	if i.set != "" {
		return i.set
	}
	return i.name
}

var (
	fieldByName = indexFields(func(i fieldInfo) string { return i.name })
	fieldBySet  = indexFields(fieldInfo.setName)
	fieldByNXM  = indexFields(func(i fieldInfo) string { return i.nxm })
)

func indexFields(name func(fieldInfo) string) map[string]Field {
	index := make(map[string]Field, numFields)
	for f := range numFields {
		if n := name(fieldTable[f]); n != "" {
			index[n] = f
		}
	}
	return index
}

// String is the field's name in a match.
func (f Field) String() string { return fieldTable[f].name }

// Bits is the field's width.
func (f Field) Bits() int { return fieldTable[f].bits }

// Value is a field's value or mask: big-endian, right-aligned in 128 bits.
type Value [16]byte

// Uint is v as a Value.
func Uint(v uint64) Value {
	var x Value
	binary.BigEndian.PutUint64(x[8:], v)
	return x
}

// Uint64 is the low 64 bits.
func (v Value) Uint64() uint64 { return binary.BigEndian.Uint64(v[8:]) }

// MAC is a hardware address of 6 bytes as a Value.
func MAC(a net.HardwareAddr) Value {
	var x Value
	copy(x[10:], a)
	return x
}

// IP is an address as a Value, of 32 or 128 bits.
func IP(a netip.Addr) Value {
	var x Value
	b := a.AsSlice()
	copy(x[16-len(b):], b)
	return x
}

// ones is the mask that has all of a field's bits.
func ones(bits int) Value { return prefixMask(bits, bits) }

// prefixMask has the first n of a field's bits.
func prefixMask(bits, n int) Value {
	var x Value
	for i := 0; i < n; i++ {
		pos := 128 - bits + i
		x[pos/8] |= 1 << (7 - pos%8)
	}
	return x
}

// prefixLen is the number of leading ones of a mask, ok only if nothing follows them.
func (v Value) prefixLen(bits int) (n int, ok bool) {
	for n < bits && v[(128-bits+n)/8]&(1<<(7-(128-bits+n)%8)) != 0 {
		n++
	}
	return n, v == prefixMask(bits, n)
}

func (v Value) and(m Value) Value {
	for i := range v {
		v[i] &= m[i]
	}
	return v
}

// text writes a whole value in the field's form.
func (f Field) text(v Value) string {
	switch fieldTable[f].form {
	case hexadecimal:
		return hexText(v)
	case mac:
		return net.HardwareAddr(v[10:]).String()
	case ipv4:
		return netip.AddrFrom4([4]byte(v[12:])).String()
	case ipv6:
		return netip.AddrFrom16(v).String()
	case port:
		return portText(uint32(v.Uint64()))
	default:
		return strconv.FormatUint(v.Uint64(), 10)
	}
}

// hexText is 0x… without leading zeros, and plain 0 for none, as in dumps.
func hexText(v Value) string {
	s := strings.TrimLeft(hex.EncodeToString(v[:]), "0")
	if s == "" {
		return "0"
	}
	return "0x" + s
}

// parse reads what text writes, and any other form that ovs-ofctl accepts for it.
func (f Field) parse(s string) (Value, error) {
	info := fieldTable[f]
	switch info.form {
	case mac:
		a, err := net.ParseMAC(s)
		if err != nil || len(a) != 6 {
			return Value{}, fmt.Errorf("%s: %q is no MAC address", info.name, s)
		}
		return MAC(a), nil
	case ipv4, ipv6:
		a, err := netip.ParseAddr(s)
		if err != nil || a.Is4() != (info.form == ipv4) || a.Zone() != "" {
			return Value{}, fmt.Errorf("%s: %q is no address of its family", info.name, s)
		}
		return IP(a), nil
	case port:
		p, err := parsePort(s)
		return Uint(uint64(p)), err
	}
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		if len(digits)%2 == 1 {
			digits = "0" + digits
		}
		b, err := hex.DecodeString(digits)
		if err != nil || len(b) > 16 {
			return Value{}, fmt.Errorf("%s: %q is no number of %d bits", info.name, s, info.bits)
		}
		var v Value
		copy(v[16-len(b):], b)
		if v.and(ones(info.bits)) != v {
			return Value{}, fmt.Errorf("%s: %q has more than %d bits", info.name, s, info.bits)
		}
		return v, nil
	}
	n, err := strconv.ParseUint(s, 10, min(info.bits, 64))
	if err != nil {
		return Value{}, fmt.Errorf("%s: %q is no number of %d bits", info.name, s, info.bits)
	}
	return Uint(n), nil
}
