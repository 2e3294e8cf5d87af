package openflow_test

import (
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// mappedOptions are the tunnel options that the tests' switches know (tun_metadata0 and
// up): of 4, 8 and 16 bytes.
const mappedOptions = 3

// packet is what a match says to begin with, and the fields that it then can name.
type packet struct {
	match  flows.Match
	fields []flows.Field
}

// packets are all the ways to meet what some field needs: a field that is added to the
// vocabulary is covered by itself.
var packets = func() (out []packet) {
	for n := range flows.NumFields {
		for _, m := range n.Needs().Matches() {
			if !slices.ContainsFunc(out, func(p packet) bool { return p.match.Equal(m) }) {
				out = append(out, packet{m, fieldsOf(m)})
			}
		}
	}
	return out
}()

// fieldsOf are the fields that a match that begins so can name.
func fieldsOf(m flows.Match) (out []flows.Field) {
	for f := range flows.NumFields {
		switch {
		case f == flows.PacketType: // no packet is both
		case f > flows.TunMetadata(mappedOptions-1) && f <= flows.TunMetadata(63):
		case f.Needs().Met(m):
			out = append(out, f)
		}
	}
	return out
}

// group is the one that generated flows may name, meter the meter.
const (
	group = 1
	meter = 1
)

// genValue is a value that the switch takes for a field.
func genValue(t *rapid.T, f flows.Field) flows.Value {
	switch f {
	case flows.InPort:
		return flows.Uint(uint64(genPort(t)))
	case flows.InPort16:
		return flows.Uint(uint64(rapid.Uint32Range(1, 0xfeff).Draw(t, "port")))
	case flows.CTState: // not invalid, with which the switch takes no commit
		return flows.Uint(uint64(rapid.Uint8().Draw(t, "ct_state") &^ 0x10))
	case flows.CTNwProto: // Open vSwitch 3.1 leaves 0 out of dumps
		return flows.Uint(uint64(rapid.Uint8Range(1, 255).Draw(t, "ct_nw_proto")))
	case flows.ARPOp:
		return flows.Uint(uint64(rapid.Uint8().Draw(t, "arp_op")))
	case flows.VLANVID:
		return flows.Uint(uint64(rapid.Uint16Range(0x1000, 0x1fff).Draw(t, "vlan_vid")))
	case flows.IPTOS:
		return flows.Uint(uint64(rapid.Uint8().Draw(t, "nw_tos") &^ 3))
	case flows.IPFrag: // a later fragment has no ports
		return flows.Uint(rapid.Uint64Range(0, 1).Draw(t, "nw_frag"))
	}
	return genBits(t, f)
}

func genBits(t *rapid.T, f flows.Field) (v flows.Value) {
	n := f.Width()
	if f.Variable() {
		n = 4 << (f - flows.TunMetadata0)
	}
	copy(v[16-n:], rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "bits"))
	return masked(v, flows.LowBits(min(f.Bits(), 128)))
}

func masked(v, mask flows.Value) flows.Value {
	for i := range v {
		v[i] &= mask[i]
	}
	return v
}

func genPort(t *rapid.T) uint32 {
	return rapid.OneOf(rapid.Uint32Range(1, 0xfeff), rapid.Just(flows.PortLocal)).Draw(t, "port")
}

// genMask is all ones most of the time, never none. ovs-ofctl 3.1 prints a match on
// tun_gbp_flags without its mask.
func genMask(t *rapid.T, f flows.Field) flows.Value {
	if !f.Maskable() || f.Bits() == 1 || f == flows.TunGBPFlags || rapid.Bool().Draw(t, "whole") {
		return f.Ones()
	}
	mask := genBits(t, f)
	switch f {
	case flows.CTState:
		mask = flows.Uint(uint64(rapid.Uint8Range(1, 0xff).Draw(t, "flags")))
	case flows.VLANVID: // its bit "there is a tag" must be set, too
		mask[14] |= 0x10
	case flows.IPFrag:
		mask = flows.Uint(rapid.SampledFrom([]uint64{1, 2}).Draw(t, "bit"))
	}
	if mask == (flows.Value{}) {
		return flows.Uint(1)
	}
	return mask
}

// genMatch adds conditions on fields of which the packet's kind says nothing.
func genMatch(t *rapid.T, p packet) flows.Match {
	m := p.match
	for _, f := range rapid.SliceOfN(rapid.SampledFrom(p.fields), 0, 8).Draw(t, "fields") {
		if clashes(m, f) {
			continue
		}
		v, mask := genValue(t, f), genMask(t, f)
		if f == flows.IPFrag && mask != f.Ones() { // ovs-ofctl has words for two of four
			v = flows.Uint(mask.Uint64() & 1)
		}
		m = m.Masked(f, v, mask)
	}
	return m
}

// clashes tells whether a match cannot name a field as well: it says something of it
// already, or of what excludes it.
func clashes(m flows.Match, f flows.Field) bool {
	excluded := map[flows.Field][]flows.Field{
		flows.TunSrc: {flows.TunIPv6Src, flows.TunIPv6Dst}, flows.TunDst: {flows.TunIPv6Src, flows.TunIPv6Dst},
		flows.TunIPv6Src: {flows.TunSrc, flows.TunDst}, flows.TunIPv6Dst: {flows.TunSrc, flows.TunDst},
	}
	for _, t := range (flows.Match{}).Is(f, flows.Value{15: 1}) {
		if _, has := m.Get(t.Field); has {
			return true
		}
	}
	return slices.ContainsFunc(excluded[f], func(o flows.Field) bool { _, has := m.Get(o); return has })
}

func genSetField(t *rapid.T, fields []flows.Field) flows.SetField {
	f := rapid.SampledFrom(fields).Draw(t, "set")
	mask := genMask(t, f)
	return flows.SetField{Field: f, Value: masked(genValue(t, f), mask), Mask: mask}
}

// genPart is n bits of one of the fields, whole ones more often.
func genPart(t *rapid.T, fields []flows.Field, n int) flows.Subfield {
	fits := slices.DeleteFunc(slices.Clone(fields), func(f flows.Field) bool { return width(f) < n })
	f := rapid.SampledFrom(fits).Draw(t, "field")
	return f.From(rapid.IntRange(0, width(f)-n).Draw(t, "start"), n)
}

func width(f flows.Field) int {
	if f.Variable() {
		return 32 << (f - flows.TunMetadata0)
	}
	return f.Bits()
}

// settable tells whether the tests' datapath lets actions write a field: the kernel's has no
// "IPv6 ND Extensions".
func settable(f flows.Field) bool {
	return f.Settable() && (ovstest.Datapath() != "system" || f != flows.NDReserved && f != flows.NDOptionsType)
}

func genMove(t *rapid.T, readable, settable []flows.Field) flows.Move {
	to := rapid.SampledFrom(settable).Draw(t, "to")
	n := width(to)
	if f := rapid.SampledFrom(readable).Draw(t, "from"); rapid.Bool().Draw(t, "part") || width(f) < n {
		n = rapid.IntRange(1, min(n, width(f))).Draw(t, "bits")
		return flows.Move{From: genPart(t, []flows.Field{f}, n), To: genPart(t, []flows.Field{to}, n)}
	}
	return flows.Move{From: genPart(t, readable, n), To: to.From(0, n)}
}

func where(list []flows.Field, ok func(flows.Field) bool) []flows.Field {
	return slices.DeleteFunc(slices.Clone(list), func(f flows.Field) bool { return !ok(f) })
}

// genFlow is a flow of any kind of packet.
func genFlow(t *rapid.T) flows.Flow {
	p := rapid.SampledFrom(packets).Draw(t, "packet")
	f := flows.Flow{
		Table:       flows.TableID(rapid.Uint8Range(0, 200).Draw(t, "table")),
		Priority:    rapid.Uint16Range(0, 32767).Draw(t, "priority"),
		Cookie:      flows.Cookie(rapid.Uint64Range(0, 1<<64-2).Draw(t, "cookie")),
		IdleTimeout: rapid.SampledFrom([]uint16{0, 0, 0, 600, 65535}).Draw(t, "idle"),
		HardTimeout: rapid.SampledFrom([]uint16{0, 0, 0, 600, 65535}).Draw(t, "hard"),
		Importance:  rapid.SampledFrom([]uint16{0, 0, 0, 7}).Draw(t, "importance"),
		Flags:       flows.Flags(rapid.SampledFrom([]uint8{0, 0, 1, 8, 16, 25}).Draw(t, "flags")),
		Match:       genMatch(t, p),
	}
	if rapid.IntRange(0, 9).Draw(t, "conjunctive") == 0 {
		f.Actions = genConjunctions(t)
		return f
	}
	g := generator{T: t, packet: p, readable: p.fields, settable: where(p.fields, settable)}
	f.Actions = g.list(8)
	for _, behind := range []flows.Action{
		flows.ClearActions, flows.WriteActions{Actions: []flows.Action{flows.Set(flows.Reg3, flows.Uint(5)), flows.OutputTo{Port: 7}}},
		flows.WriteMetadata{Value: 5, Mask: 7}, flows.WriteMetadata{Value: 0, Mask: ^uint64(0)},
		flows.Goto{Table: flows.TableID(rapid.Uint8Range(uint8(f.Table)+1, 253).Draw(t, "goto"))},
	} {
		if _, twice := behind.(flows.WriteMetadata); twice && len(f.Actions) > 0 {
			if _, twice := f.Actions[len(f.Actions)-1].(flows.WriteMetadata); twice {
				continue
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "behind") == 0 {
			f.Actions = append(f.Actions, behind)
		}
	}
	return f
}

func genConjunctions(t *rapid.T) []flows.Action {
	out := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) flows.Action {
		n := rapid.Uint8Range(2, 64).Draw(t, "clauses")
		return flows.Conjunction{ID: rapid.Uint32().Draw(t, "id"), Clause: rapid.Uint8Range(1, n).Draw(t, "clause"), Clauses: n}
	}), 1, 5, func(a flows.Action) uint32 { return a.(flows.Conjunction).ID }).Draw(t, "conjunctions")
	if rapid.Bool().Draw(t, "note") {
		out = append(out, flows.Note{Bytes: "why"})
	}
	return out
}

// genFlows are flows with different keys.
func genFlows(t *rapid.T) []flows.Flow {
	n := rapid.SampledFrom([]int{1, 20, 50, 100}).Draw(t, "how many") // some 4,000 in a hundred checks
	return rapid.SliceOfNDistinct(rapid.Custom(genFlow), n, n, flows.Flow.Key).Draw(t, "flows")
}

// generator makes actions for a kind of packet.
type generator struct {
	*rapid.T
	packet
	readable, settable []flows.Field
	nested             bool
}

func (g generator) list(most int) (out []flows.Action) {
	for range rapid.IntRange(0, most).Draw(g.T, "actions") {
		out = append(out, g.action())
	}
	return out
}

func (g generator) is(n flows.Needs) bool { return n.Met(g.match) }

// action is one that the switch takes for the packet.
func (g generator) action() flows.Action {
	t := g.T
	choices := []func() flows.Action{
		func() flows.Action { return flows.OutputTo{Port: genPort(t)} },
		func() flows.Action {
			return flows.OutputTo{Port: rapid.SampledFrom([]uint32{flows.PortInPort, flows.PortAll, flows.PortFlood, flows.PortNormal}).Draw(t, "port")}
		},
		func() flows.Action {
			return flows.OutputTruncated{Port: rapid.Uint32Range(1, 0xfeff).Draw(t, "port"), MaxLen: 100}
		},
		func() flows.Action {
			return flows.OutputField{From: genPart(t, g.readable, rapid.IntRange(1, 16).Draw(t, "bits"))}
		},
		func() flows.Action { return genResubmit(t) },
		func() flows.Action { return flows.ToGroup{Group: group} },
		func() flows.Action { return genSetField(t, g.settable) },
		func() flows.Action { return genSetField(t, g.settable) },
		func() flows.Action { return genMove(t, g.readable, g.settable) },
		func() flows.Action { return genController(t) },
		func() flows.Action { return genLearn(t, g) },
		func() flows.Action { return flows.Push{From: genPart(t, g.readable, 1)} },
		func() flows.Action { return flows.Pop{To: genPart(t, g.settable, 1)} },
		func() flows.Action { return flows.Number{Name: flows.UseMeter, N: meter} },
		func() flows.Action { return flows.Number{Name: flows.SetQueue, N: rapid.Uint32().Draw(t, "queue")} },
		func() flows.Action {
			return rapid.SampledFrom([]flows.Word{flows.CTClear, flows.Exit, flows.PopQueue}).Draw(t, "word")
		},
		func() flows.Action {
			return flows.CheckPacketLarger{Bytes: rapid.Uint16().Draw(t, "bytes"), To: flows.Reg3.From(4, 1)}
		},
		func() flows.Action { return flows.Note{Bytes: rapid.StringMatching("[a-z]{0,20}").Draw(t, "note")} },
	}
	if g.is(flows.NeedsIP) {
		choices = append(choices,
			func() flows.Action { return flows.DecTTL{} },
			func() flows.Action { return flows.Number{Name: flows.SetTTL, N: uint32(rapid.Uint8().Draw(t, "ttl"))} },
			func() flows.Action { return g.ct() }, func() flows.Action { return g.ct() },
		)
	}
	if g.is(flows.NeedsTCP) {
		choices = append(choices, func() flows.Action { return flows.FinTimeout{Idle: rapid.Uint16Range(1, 9).Draw(t, "idle"), Hard: 3} })
	}
	if !g.nested {
		g.nested = true
		choices = append(choices, func() flows.Action { return flows.Clone{Actions: g.list(3)} })
	}
	return rapid.SampledFrom(choices).Draw(t, "action")()
}

func genResubmit(t *rapid.T) flows.Resubmit {
	a := flows.Resubmit{Table: flows.TableID(rapid.Uint8Range(0, 253).Draw(t, "table"))}
	if rapid.Bool().Draw(t, "other port") {
		a.Port = genPort(t)
		a.Table = rapid.SampledFrom([]flows.TableID{a.Table, flows.SameTable}).Draw(t, "same table")
	}
	return a
}

func genController(t *rapid.T) flows.Controller {
	return flows.Controller{
		MaxLen:   rapid.SampledFrom([]uint16{flows.WholePacket, 0, 128}).Draw(t, "max_len"),
		ID:       rapid.SampledFrom([]uint16{0, 0, 7}).Draw(t, "id"),
		Reason:   rapid.SampledFrom([]flows.Reason{flows.ReasonAction, flows.ReasonAction, flows.ReasonNoMatch, flows.ReasonInvalidTTL, flows.ReasonPacketOut}).Draw(t, "reason"),
		UserData: rapid.StringN(0, 20, -1).Draw(t, "userdata"),
		Pause:    rapid.Bool().Draw(t, "pause"),
		Meter:    rapid.SampledFrom([]uint32{0, 0, meter}).Draw(t, "meter"),
	}
}

// ct is for IP packets.
func (g generator) ct() flows.CT {
	t := g.T
	a := flows.CT{
		Commit:      rapid.Bool().Draw(t, "commit"),
		Recirculate: rapid.Bool().Draw(t, "recirculate"),
		Zone:        rapid.Uint16().Draw(t, "zone"),
	}
	if a.Recirculate {
		a.Table = flows.TableID(rapid.Uint8Range(0, 253).Draw(t, "table"))
	}
	if rapid.Bool().Draw(t, "zone of a field") {
		a.Zone, a.ZoneFrom = 0, genPart(t, []flows.Field{flows.Reg3, flows.XReg1, flows.XXReg1}, 16)
	}
	if rapid.Bool().Draw(t, "nat") {
		a.Exec = append(a.Exec, g.nat(a.Commit))
	}
	if !a.Commit {
		return a
	}
	a.Force = rapid.Bool().Draw(t, "force")
	if g.is(flows.NeedsTCP) && rapid.Bool().Draw(t, "alg") {
		a.ALG = flows.ALGFTP
	}
	marks := where(g.fields, flows.Field.SettableInCT)
	for range rapid.IntRange(0, 3).Draw(t, "exec") {
		if rapid.Bool().Draw(t, "set") {
			a.Exec = append(a.Exec, genSetField(t, marks))
		} else {
			a.Exec = append(a.Exec, genMove(t, g.readable, marks))
		}
	}
	return a
}

func (g generator) nat(commit bool) flows.NAT {
	t := g.T
	if !commit {
		return flows.NAT{}
	}
	a := flows.NAT{Kind: rapid.SampledFrom([]flows.NATKind{flows.NATKnown, flows.NATSource, flows.NATDestination}).Draw(t, "kind")}
	if a.Kind == flows.NATKnown || rapid.IntRange(0, 4).Draw(t, "no range") == 0 {
		return a
	}
	a.Min, a.Max = netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.1.2.9")
	if g.is(flows.NeedsIPv6) {
		a.Min, a.Max = netip.MustParseAddr("fd00::3"), netip.MustParseAddr("fd00::9")
	}
	if rapid.Bool().Draw(t, "one address") {
		a.Max = netip.Addr{}
	}
	if rapid.Bool().Draw(t, "ports") {
		a.PortMin = rapid.Uint16Range(1, 100).Draw(t, "port")
		a.PortMax = rapid.SampledFrom([]uint16{0, a.PortMin + 9}).Draw(t, "last port")
	}
	a.Persistent = rapid.Bool().Draw(t, "persistent")
	switch rapid.IntRange(0, 2).Draw(t, "choice") {
	case 1:
		a.Hash = true
	case 2:
		a.Random = true
	}
	return a
}

func genLearn(t *rapid.T, g generator) flows.Learn {
	a := flows.Learn{
		Table: flows.TableID(rapid.Uint8Range(0, 253).Draw(t, "table")), Priority: rapid.Uint16Range(0, 32767).Draw(t, "priority"),
		IdleTimeout: rapid.Uint16Range(0, 3).Draw(t, "idle"), HardTimeout: rapid.Uint16Range(0, 3).Draw(t, "hard"),
		FinIdleTimeout: rapid.Uint16Range(0, 3).Draw(t, "fin idle"), FinHardTimeout: rapid.Uint16Range(0, 3).Draw(t, "fin hard"),
		Cookie: flows.Cookie(rapid.Uint64().Draw(t, "cookie")), SendFlowRemoved: rapid.Bool().Draw(t, "removed"),
		DeleteLearned: rapid.Bool().Draw(t, "delete"), Limit: rapid.Uint32Range(0, 2).Draw(t, "limit"),
	}
	if rapid.Bool().Draw(t, "result") {
		a.Result = genPart(t, []flows.Field{flows.Reg5, flows.XXReg2}, 1)
	}
	specs := []func() flows.LearnSpec{
		func() flows.LearnSpec { return flows.LearnSpec{To: flows.EthDst.All(), From: flows.EthSrc.All()} },
		func() flows.LearnSpec { return flows.LearnSpec{To: flows.Reg2.All(), From: flows.Reg2.All()} },
		func() flows.LearnSpec {
			n := rapid.IntRange(1, 32).Draw(t, "bits")
			return flows.LearnSpec{Kind: flows.LearnLoad, To: genPart(t, []flows.Field{flows.Reg4, flows.XXReg1}, n), From: genPart(t, []flows.Field{flows.TunID, flows.XReg2}, n)}
		},
		func() flows.LearnSpec {
			to := genPart(t, []flows.Field{flows.Reg1, flows.XReg3, flows.XXReg2}, rapid.IntRange(1, 32).Draw(t, "bits"))
			return flows.LearnSpec{Kind: flows.LearnKind(rapid.IntRange(0, 1).Draw(t, "kind")), To: to, Value: flows.Uint(rapid.Uint64Range(0, 1<<to.Bits-1).Draw(t, "value"))}
		},
		func() flows.LearnSpec { return flows.LearnSpec{Kind: flows.LearnOutput, From: flows.InPort16.All()} },
		func() flows.LearnSpec { return flows.LearnSpec{To: flows.EthType.All(), Value: flows.Uint(0x800)} },
	}
	for range rapid.IntRange(0, 4).Draw(t, "specs") {
		a.Specs = append(a.Specs, rapid.SampledFrom(specs).Draw(t, "spec")())
	}
	return a
}
