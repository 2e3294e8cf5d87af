package openflow_test

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows"
)

// packet is a kind of packet: the terms that a match needs to speak of it, and the
// fields that it then can have.
type packet struct {
	name   string
	match  flows.Match
	fields []flows.Field
}

var (
	registers = []flows.Field{
		flows.Reg0, flows.Reg1, flows.Reg2, flows.Reg3, flows.Reg4, flows.Reg5, flows.Reg6, flows.Reg7,
		flows.Reg8, flows.Reg9, flows.Reg10, flows.Reg11, flows.Reg12, flows.Reg13, flows.Reg14, flows.Reg15,
	}
	// anyPacket are the fields of every packet.
	anyPacket = slices.Concat(registers, []flows.Field{
		flows.PktMark, flows.ConjID, flows.CTState, flows.CTZone, flows.CTMark, flows.CTLabel,
		flows.TunID, flows.Metadata, flows.InPort, flows.EthSrc, flows.EthDst,
	})
	tunnel4 = []flows.Field{flows.TunSrc, flows.TunDst}
	tunnel6 = []flows.Field{flows.TunIPv6Src, flows.TunIPv6Dst}
	ip4     = []flows.Field{flows.IPv4Src, flows.IPv4Dst}
	ip6     = []flows.Field{flows.IPv6Src, flows.IPv6Dst}
	ports   = []flows.Field{flows.TPSrc, flows.TPDst}
	icmp    = []flows.Field{flows.ICMPType, flows.ICMPCode}
)

func proto(m flows.Match, n uint64) flows.Match { return m.Is(flows.IPProto, flows.Uint(n)) }

func neighbour(icmpType uint64) flows.Match {
	return proto(flows.Match{}.IPv6(), 58).Is(flows.ICMPType, flows.Uint(icmpType)).Is(flows.ICMPCode, flows.Uint(0))
}

var packets = []packet{
	{"any", nil, tunnel4},
	{"any", nil, tunnel6},
	{"ip", flows.Match{}.IPv4(), slices.Concat(ip4, tunnel4)},
	{"ip of another protocol", proto(flows.Match{}.IPv4(), 47), ip4},
	{"tcp", proto(flows.Match{}.IPv4(), 6), slices.Concat(ip4, ports)},
	{"udp", proto(flows.Match{}.IPv4(), 17), slices.Concat(ip4, ports)},
	{"sctp", proto(flows.Match{}.IPv4(), 132), slices.Concat(ip4, ports)},
	{"icmp", proto(flows.Match{}.IPv4(), 1), slices.Concat(ip4, icmp)},
	{"ipv6", flows.Match{}.IPv6(), slices.Concat(ip6, tunnel6)},
	{"tcp6", proto(flows.Match{}.IPv6(), 6), slices.Concat(ip6, ports)},
	{"udp6", proto(flows.Match{}.IPv6(), 17), slices.Concat(ip6, ports)},
	{"sctp6", proto(flows.Match{}.IPv6(), 132), slices.Concat(ip6, ports)},
	{"icmp6", proto(flows.Match{}.IPv6(), 58), slices.Concat(ip6, icmp)},
	{"neighbour solicitation", neighbour(135), slices.Concat(ip6, []flows.Field{flows.NDTarget, flows.NDSll})},
	{"neighbour advertisement", neighbour(136), slices.Concat(ip6, []flows.Field{flows.NDTarget, flows.NDTll})},
	{"arp", flows.Match{}.ARP(), []flows.Field{flows.ARPOp, flows.ARPSpa, flows.ARPTpa, flows.ARPSha, flows.ARPTha}},
	{"another EtherType", flows.Match{}.Is(flows.EthType, flows.Uint(0x88cc)), nil},
}

// unmaskable fields are matched and set whole.
var unmaskable = []flows.Field{flows.ConjID, flows.CTZone, flows.InPort, flows.ARPOp, flows.ICMPType, flows.ICMPCode}

// readOnly fields cannot be set, or only by conntrack's own action.
var readOnly = []flows.Field{flows.InPort, flows.ConjID, flows.CTState, flows.CTZone, flows.CTMark, flows.CTLabel}

// group is the one that generated flows may name.
const group = 1

func genValue(t *rapid.T, f flows.Field) flows.Value {
	switch f {
	case flows.InPort:
		return flows.Uint(uint64(genPort(t)))
	case flows.CTState:
		return flows.Uint(uint64(rapid.Uint8().Draw(t, "ct_state")))
	case flows.ARPOp:
		return flows.Uint(uint64(rapid.Uint8().Draw(t, "arp_op")))
	}
	return genBits(t, f.Bits())
}

func genBits(t *rapid.T, bits int) (v flows.Value) {
	copy(v[16-bits/8:], rapid.SliceOfN(rapid.Byte(), bits/8, bits/8).Draw(t, "bits"))
	return v
}

func genPort(t *rapid.T) uint32 {
	return rapid.OneOf(rapid.Uint32Range(1, 0xfeff), rapid.Just(flows.PortLocal)).Draw(t, "port")
}

// genMask is all ones most of the time, never none.
func genMask(t *rapid.T, f flows.Field) flows.Value {
	if f == flows.CTState { // eight flags in 32 bits; ovs-ofctl writes all eight in another form
		return flows.Uint(uint64(rapid.Uint8Range(1, 0xfe).Draw(t, "flags")))
	}
	all := flows.Set(f, flows.Value{}).Mask
	if slices.Contains(unmaskable, f) || rapid.Bool().Draw(t, "whole") {
		return all
	}
	mask := genBits(t, f.Bits())
	if mask == (flows.Value{}) {
		return flows.Uint(1)
	}
	return mask
}

func genMatch(t *rapid.T, p packet) flows.Match {
	m := p.match
	for _, f := range rapid.SliceOfN(rapid.SampledFrom(slices.Concat(anyPacket, p.fields, p.fields)), 0, 8).Draw(t, "fields") {
		m = m.Masked(f, genValue(t, f), genMask(t, f))
	}
	return m
}

func genSetField(t *rapid.T, settable []flows.Field) flows.Action {
	f := rapid.SampledFrom(settable).Draw(t, "set")
	mask := genMask(t, f)
	v := genValue(t, f)
	for i := range v {
		v[i] &= mask[i]
	}
	return flows.SetField{Field: f, Value: v, Mask: mask}
}

func genFlow(t *rapid.T) flows.Flow {
	p := rapid.SampledFrom(packets).Draw(t, "packet")
	f := flows.Flow{
		Table:    flows.TableID(rapid.Uint8Range(0, 200).Draw(t, "table")),
		Priority: rapid.Uint16().Draw(t, "priority"),
		Cookie:   flows.Cookie(rapid.Uint64Range(0, 1<<64-2).Draw(t, "cookie")),
		Match:    genMatch(t, p),
	}
	readable := slices.Concat(anyPacket, p.fields)
	settable := slices.DeleteFunc(slices.Clone(readable), func(f flows.Field) bool { return slices.Contains(readOnly, f) })
	choices := []func() flows.Action{
		func() flows.Action { return flows.OutputTo{Port: genPort(t)} },
		func() flows.Action { return flows.OutputTo{Port: flows.PortInPort} },
		func() flows.Action {
			return flows.Resubmit{Table: flows.TableID(rapid.Uint8Range(0, 253).Draw(t, "table"))}
		},
		func() flows.Action { return flows.ToGroup{Group: group} },
		func() flows.Action { return genSetField(t, settable) },
		func() flows.Action { return genSetField(t, settable) },
		func() flows.Action {
			to := rapid.SampledFrom(settable).Draw(t, "to")
			same := slices.DeleteFunc(slices.Clone(readable), func(f flows.Field) bool { return f.Bits() != to.Bits() })
			return flows.Move{From: rapid.SampledFrom(same).Draw(t, "from"), To: to}
		},
	}
	if eth, ok := p.match.Get(flows.EthType); ok && (eth.Value.Uint64() == 0x0800 || eth.Value.Uint64() == 0x86dd) {
		choices = append(choices, func() flows.Action { return flows.DecTTL{} })
	}
	for range rapid.IntRange(0, 8).Draw(t, "actions") {
		f.Actions = append(f.Actions, rapid.SampledFrom(choices).Draw(t, "action")())
	}
	if rapid.Bool().Draw(t, "goto") {
		f.Actions = append(f.Actions, flows.Goto{Table: flows.TableID(rapid.Uint8Range(uint8(f.Table)+1, 253).Draw(t, "goto"))})
	}
	return f
}

// genFlows are flows with different keys.
func genFlows(t *rapid.T) []flows.Flow {
	return rapid.SliceOfNDistinct(rapid.Custom(genFlow), 1, 30, flows.Flow.Key).Draw(t, "flows")
}
