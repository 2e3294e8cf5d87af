package flows

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Match is a conjunction of terms, sorted by field, one term a field, in the fields in
// which a switch describes them. The methods
// return a longer match and leave the receiver as it is, so that
//
//	Match{}.InPort(3).Src(prefix)
//
// reads as the condition it is. The zero Match matches every packet.
type Match []Term

// With adds a term, in place of one for the same bits. A field that is another view of
// others (XReg0, VLANVID, IPTOS) is kept as those.
func (m Match) With(t Term) Match {
	var room [4]Term
	out := slices.Grow(slices.Clone(m), 1)
	for _, t := range t.canonical(room[:0]) {
		i, has := slices.BinarySearchFunc(out, t.Field, func(t Term, f Field) int { return int(t.Field) - int(f) })
		switch {
		case !has:
			out = slices.Insert(out, i, t)
		case t.Field == VLANTCI: // the bits that the new term does not speak of stay
			out[i] = out[i].or(t)
		default:
			out[i] = t
		}
	}
	return out
}

// or is both of two terms of one field; where they differ, the second.
func (t Term) or(o Term) Term {
	for i := range t.Value {
		t.Value[i] = t.Value[i]&^o.Mask[i] | o.Value[i]&o.Mask[i]
		t.Mask[i] |= o.Mask[i]
	}
	return t
}

// MatchOf is the match of terms in any order, which become its own. ok is false if
// two speak of the same bits.
func MatchOf(list []Term) (m Match, ok bool) {
	var wide [16]Term
	all := wide[:0]
	for _, t := range list {
		all = t.canonical(all)
	}
	sortTerms(all)
	if len(all) == 0 {
		return nil, true
	}
	m = make(Match, 1, len(all))
	m[0] = all[0]
	for _, t := range all[1:] {
		last := &m[len(m)-1]
		switch {
		case t.Field != last.Field:
			m = append(m, t)
		case t.Field == VLANTCI && last.agrees(t):
			*last = last.or(t)
		default:
			return nil, false
		}
	}
	return m, true
}

// agrees tells whether two terms of one field say the same of the bits that both speak of.
func (t Term) agrees(o Term) bool {
	both := t.Mask.And(o.Mask)
	return t.Value.And(both) == o.Value.And(both)
}

// Is matches the whole field.
func (m Match) Is(f Field, v Value) Match { return m.With(Term{f, v, f.Ones()}) }

// Masked matches the bits of the field that are set in mask.
func (m Match) Masked(f Field, v, mask Value) Match { return m.With(Term{f, v, mask}) }

// InPort matches the OpenFlow port by which the packet came.
func (m Match) InPort(p uint32) Match { return m.Is(InPort, Uint(uint64(p))) }

// EtherTypes.
const (
	ethIPv4          = 0x0800
	ethARP           = 0x0806
	ethRARP          = 0x8035
	ethIPv6          = 0x86dd
	ethMPLS          = 0x8847
	ethMPLSMulticast = 0x8848
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
	return m.Masked(f, IP(p.Addr()), PrefixMask(p))
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
	{"rarp", ethRARP, -1},
	{"mpls", ethMPLS, -1},
	{"mplsm", ethMPLSMulticast, -1},
}

// word is the shorthand for the match's EtherType and protocol, and whether it
// says all of the protocol too.
func (m Match) word() (word string, withProto bool) {
	eth, ok := m.Get(EthType)
	if !ok || eth.Mask != EthType.Ones() {
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
		if hasProto && proto.Mask == IPProto.Ones() && uint64(p.proto) == proto.Value.Uint64() {
			return p.word, true
		}
	}
	return "", false
}

// String is the match as ovs-ofctl prints it, empty for one that matches everything.
// Its word for EtherType and protocol goes before the registers; what it has no word
// for goes before the addresses, and behind them.
func (m Match) String() string {
	word, withProto := m.word()
	var eth, proto *Term
	var out []string
	flush := func(next Field) {
		if word != "" && next > PacketType {
			out, word = append(out, word), ""
		}
		if eth != nil && next > EthDst {
			out, eth = append(out, eth.String()), nil
		}
		if proto != nil && next > ARPTpa {
			out, proto = append(out, proto.String()), nil
		}
	}
	hasWord := word != ""
	for i, t := range m {
		flush(t.Field)
		switch {
		case t.Field == EthType && !hasWord:
			eth = &m[i]
		case t.Field == EthType, t.Field == IPProto && withProto:
		case t.Field == IPProto:
			proto = &m[i]
		default:
			out = append(out, m.termText(t))
		}
	}
	flush(numFields)
	return strings.Join(out, ",")
}

// Unspoken is a field that text cannot say in this match: it shares its name with those
// of other protocols, and the match does not tell whose it is.
func (m Match) Unspoken() (f Field, found bool) {
	for _, t := range m {
		if t.Field >= TCPSrc && t.Field <= ICMPv6Code && !t.Field.Needs().Met(m) {
			return t.Field, true
		}
	}
	return 0, false
}

// termText is a term as it stands in its match. Fields that share a name with those
// of other protocols have their own name if the match does not tell whose they are.
func (m Match) termText(t Term) string {
	switch {
	case t.Field == VLANTCI:
		return t.vlanText()
	case t.Field == IPDSCP && t.Value.Uint64() < 64:
		return "nw_tos=" + strconv.FormatUint(t.Value.Uint64()<<2, 10)
	case t.Field >= TCPSrc && t.Field <= ICMPv6Code && !t.Field.Needs().Met(m):
		return t.Field.Name() + t.valueText()
	}
	return t.String()
}
