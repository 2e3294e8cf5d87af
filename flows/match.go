package flows

import (
	"net"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Term is one condition of a match: the field's bits under Mask equal Value.
type Term struct {
	Field       Field
	Value, Mask Value
}

// Match is a conjunction of terms, sorted by field, one term a field. The methods
// return a longer match and leave the receiver as it is, so that
//
//	Match{}.InPort(3).Src(prefix)
//
// reads as the condition it is. The zero Match matches every packet.
type Match []Term

// With adds a term, in place of one for the same field.
func (m Match) With(t Term) Match {
	t.Value = t.Value.and(t.Mask)
	i := sort.Search(len(m), func(i int) bool { return m[i].Field >= t.Field })
	out := make(Match, 0, len(m)+1)
	out = append(out, m[:i]...)
	out = append(out, t)
	if i < len(m) && m[i].Field == t.Field {
		i++
	}
	return append(out, m[i:]...)
}

// Is matches the whole field.
func (m Match) Is(f Field, v Value) Match { return m.With(Term{f, v, ones(f.Bits())}) }

// Masked matches the bits of the field that are set in mask.
func (m Match) Masked(f Field, v, mask Value) Match { return m.With(Term{f, v, mask}) }

// InPort matches the OpenFlow port by which the packet came.
func (m Match) InPort(p uint32) Match { return m.Is(InPort, Uint(uint64(p))) }

// EtherType of IPv4, ARP and IPv6.
const (
	ethIPv4 = 0x0800
	ethARP  = 0x0806
	ethIPv6 = 0x86dd
)

// IPv4 matches EtherType 0x0800.
func (m Match) IPv4() Match { return m.Is(EthType, Uint(ethIPv4)) }

// IPv6 matches EtherType 0x86dd.
func (m Match) IPv6() Match { return m.Is(EthType, Uint(ethIPv6)) }

// ARP matches EtherType 0x0806.
func (m Match) ARP() Match { return m.Is(EthType, Uint(ethARP)) }

// Family matches the EtherType of the address's family.
func (m Match) Family(a netip.Addr) Match {
	if a.Is4() {
		return m.IPv4()
	}
	return m.IPv6()
}

// EthSrc matches the Ethernet source address.
func (m Match) EthSrc(a net.HardwareAddr) Match { return m.Is(EthSrc, MAC(a)) }

// Src matches the IP source address, of either family.
func (m Match) Src(p netip.Prefix) Match { return m.prefix(p, IPv4Src, IPv6Src) }

// Dst matches the IP destination address, of either family.
func (m Match) Dst(p netip.Prefix) Match { return m.prefix(p, IPv4Dst, IPv6Dst) }

func (m Match) prefix(p netip.Prefix, f4, f6 Field) Match {
	f := f4
	if !p.Addr().Is4() {
		f = f6
	}
	m = m.Family(p.Addr())
	if p.Bits() == 0 {
		return m
	}
	return m.Masked(f, IP(p.Addr()), prefixMask(f.Bits(), p.Bits()))
}

// TunSrc matches the tunnel's outer source address, of either family.
func (m Match) TunSrc(a netip.Addr) Match {
	if a.Is4() {
		return m.Is(TunSrc, IP(a))
	}
	return m.Is(TunIPv6Src, IP(a))
}

// Origin matches RegOrigin's bits.
func (m Match) Origin(bits uint32) Match {
	return m.Masked(RegOrigin, Uint(uint64(bits)), Uint(uint64(bits)))
}

// Equal tells whether two matches are the same condition, term by term.
func (m Match) Equal(o Match) bool { return slices.Equal(m, o) }

// Get finds the term of a field.
func (m Match) Get(f Field) (Term, bool) {
	for _, t := range m {
		if t.Field == f {
			return t, true
		}
	}
	return Term{}, false
}

// protocols are ovs-ofctl's words for an EtherType and an IP protocol; proto -1 is any.
var protocols = []struct {
	word    string
	ethType uint64
	proto   int
}{
	{"icmp", ethIPv4, 1},
	{"tcp", ethIPv4, 6},
	{"udp", ethIPv4, 17},
	{"sctp", ethIPv4, 132},
	{"ip", ethIPv4, -1},
	{"icmp6", ethIPv6, 58},
	{"tcp6", ethIPv6, 6},
	{"udp6", ethIPv6, 17},
	{"sctp6", ethIPv6, 132},
	{"ipv6", ethIPv6, -1},
	{"arp", ethARP, -1},
}

// word is the shorthand for the match's EtherType and protocol, and whether it
// says all of the protocol too.
func (m Match) word() (word string, withProto bool) {
	eth, ok := m.Get(EthType)
	if !ok || eth.Mask != ones(16) {
		return "", false
	}
	proto, hasProto := m.Get(IPProto)
	for _, p := range protocols {
		if p.ethType != eth.Value.Uint64() {
			continue
		}
		if p.proto < 0 {
			return p.word, false
		}
		if hasProto && proto.Mask == ones(8) && uint64(p.proto) == proto.Value.Uint64() {
			return p.word, true
		}
	}
	return "", false
}

// String is the match as ovs-ofctl prints it, empty for one that matches everything.
func (m Match) String() string {
	var out []string
	word, withProto := m.word()
	for _, t := range m {
		switch {
		case t.Field == EthType && word != "":
			out = append(out, word)
		case t.Field == IPProto && withProto:
		default:
			out = append(out, t.String())
		}
	}
	return strings.Join(out, ",")
}

// String is the term as ovs-ofctl prints it: field=value, with the mask if there is one.
func (t Term) String() string {
	name := t.Field.String()
	info := fieldTable[t.Field]
	if info.form == ctStateFlags {
		return name + "=" + ctStateText(uint32(t.Value.Uint64()), uint32(t.Mask.Uint64()))
	}
	if t.Mask == ones(info.bits) {
		return name + "=" + t.Field.text(t.Value)
	}
	switch info.form {
	case ipv4, ipv6:
		if n, ok := t.Mask.prefixLen(info.bits); ok {
			return name + "=" + t.Field.text(t.Value) + "/" + strconv.Itoa(n)
		}
		return name + "=" + t.Field.text(t.Value) + "/" + t.Field.text(t.Mask)
	case decimal: // a masked number is written in hexadecimal
		return name + "=" + hexText(t.Value) + "/" + hexText(t.Mask)
	default:
		return name + "=" + t.Field.text(t.Value) + "/" + t.Field.text(t.Mask)
	}
}

// ctStateNames are conntrack's state flags, lowest bit first.
var ctStateNames = []string{"new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"}

func ctStateText(value, mask uint32) string {
	var b strings.Builder
	for i, name := range ctStateNames {
		bit := uint32(1) << i
		switch {
		case value&mask&bit != 0:
			b.WriteString("+" + name)
		case mask&bit != 0:
			b.WriteString("-" + name)
		}
	}
	return b.String()
}
