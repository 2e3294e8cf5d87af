package openflow_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// low is a value that every field can have, high one that has other bits.
func low(f flows.Field) flows.Value {
	switch f {
	case flows.VLANVID:
		return flows.Uint(0x1001)
	case flows.IPTOS:
		return flows.Uint(4)
	}
	return flows.Uint(1)
}

// part is a mask of some of a field's bits, all of them in low.
func part(f flows.Field) flows.Value {
	switch {
	case f == flows.IPFrag:
		return flows.Uint(1)
	case f == flows.VLANVID: // the bit "there is a tag" must be among them
		return flows.Uint(0x1041)
	case f.Bits() == 1:
		return f.Ones()
	}
	v := flows.Load(f.From(f.Bits()/2, 1), flows.Uint(1)).Mask
	if f.Variable() {
		v = flows.Uint(0x8000)
	}
	v[15] |= 1
	return v
}

// everyField has flows that name each field of the vocabulary in each way in which it
// can be named: a field that is added is covered by itself.
func everyField() (out []flows.Flow) {
	add := func(m flows.Match, actions ...flows.Action) {
		f := flows.Flow{Table: 3, Priority: uint16(len(out)) + 1, Cookie: flows.Cookie(len(out)) + 1, Match: m, Actions: actions}
		out = append(out, f)
	}
	for f := range flows.NumFields {
		if f > flows.TunMetadata(mappedOptions-1) && f <= flows.TunMetadata(63) {
			continue // as the ones before
		}
		for _, m := range f.Needs().Matches() {
			if !clashes(m, f) {
				add(m.Is(f, low(f)))
				if f.Maskable() && f != flows.TunGBPFlags { // of which ovs-ofctl leaves the mask out
					add(m.Masked(f, low(f), part(f)))
				}
			}
			first := f.From(0, 1)
			add(m, flows.Move{From: first, To: flows.Reg7.From(31, 1)}, flows.OutputField{From: first}, flows.Push{From: first})
			if n := min(width(f), 32); n > 1 {
				add(m, flows.Move{From: f.From(0, n), To: flows.Reg7.From(0, n)})
			}
			add(m, learn(m, first))
			if settable(f) {
				add(m, flows.Set(f, low(f)), flows.Pop{To: first})
				if f != flows.VLANVID {
					add(m, flows.Load(first, flows.Uint(0)))
				}
				add(m, flows.SetField{Field: f, Value: masked(low(f), part(f)), Mask: part(f)})
				add(m, flows.Move{From: flows.Reg7.From(31, 1), To: first})
			}
		}
		if f.SettableInCT() {
			add(flows.Match{}.IPv4(), flows.CT{Commit: true, Exec: []flows.Action{
				flows.Set(f, low(f)), flows.Load(f.From(3, 1), flows.Uint(1)), flows.Move{From: flows.Reg7.From(0, 16), To: f.From(8, 16)},
			}})
		}
	}
	return out
}

// learn is an action that takes a bit from a packet that matches m, and where it can
// makes a match of it.
func learn(m flows.Match, bit flows.Subfield) flows.Learn {
	a := flows.Learn{Table: 4, Priority: 5}
	for _, t := range m {
		if t.Mask != t.Field.Ones() {
			a.Specs = nil
			break
		}
		a.Specs = append(a.Specs, flows.LearnSpec{To: t.Field.All(), Value: t.Value})
	}
	if len(a.Specs) == len(m) {
		a.Specs = append(a.Specs, flows.LearnSpec{To: bit, From: bit}, flows.LearnSpec{To: bit, Value: flows.Uint(1)})
	}
	a.Specs = append(a.Specs, flows.LearnSpec{Kind: flows.LearnLoad, To: flows.Reg7.From(31, 1), From: bit})
	return a
}

// everyAction has an example of each action and of each of its forms.
func everyAction() (out []flows.Flow) {
	add := func(m flows.Match, actions ...flows.Action) {
		f := flows.Flow{Table: 3, Priority: uint16(len(out)) + 1, Cookie: flows.Cookie(len(out)) + 1, Match: m, Actions: actions}
		out = append(out, f)
	}
	v4, v6 := flows.Match{}.IPv4(), flows.Match{}.IPv6()
	tcp := v4.Is(flows.IPProto, flows.Uint(6))
	tracked := v4.Masked(flows.CTState, flows.Uint(0x20), flows.Uint(0x30))
	tagged := flows.Match{}.Masked(flows.VLANTCI, flows.Uint(0x1000), flows.Uint(0x1000))
	for _, a := range []flows.Action{
		flows.OutputTo{Port: 1}, flows.OutputTo{Port: 0xfeff}, flows.OutputTo{Port: flows.PortInPort}, flows.OutputTo{Port: flows.PortLocal},
		flows.OutputTo{Port: flows.PortNormal}, flows.OutputTo{Port: flows.PortFlood}, flows.OutputTo{Port: flows.PortAll},
		flows.OutputTruncated{Port: 1, MaxLen: 100}, flows.OutputTruncated{Port: flows.PortLocal, MaxLen: 14},
		flows.OutputField{From: flows.Reg1.All()}, flows.OutputField{From: flows.XXReg3.From(40, 16)},
		flows.Controller{MaxLen: flows.WholePacket}, flows.Controller{MaxLen: 0}, flows.Controller{MaxLen: 128, UserData: "\x01\x02"},
		flows.Controller{MaxLen: 9, ID: 3, Reason: flows.ReasonNoMatch}, flows.Controller{MaxLen: flows.WholePacket, Reason: flows.ReasonGroup},
		flows.Controller{MaxLen: 7, ID: 4, Reason: flows.ReasonInvalidTTL, UserData: "x", Pause: true, Meter: meter},
		flows.ToGroup{Group: group},
		flows.Resubmit{Table: 18}, flows.Resubmit{Port: 3, Table: 18}, flows.Resubmit{Port: flows.PortLocal, Table: flows.SameTable},
		flows.Clone{Actions: []flows.Action{flows.Set(flows.Reg1, flows.Uint(1)), flows.OutputTo{Port: 1}}}, flows.Clone{},
		flows.Note{Bytes: "abc"}, flows.Note{Bytes: "abcdefg"}, flows.Note{},
		flows.Number{Name: flows.UseMeter, N: meter}, flows.Number{Name: flows.SetQueue, N: 3}, flows.PopQueue, flows.Exit, flows.CTClear,
		flows.CheckPacketLarger{Bytes: 1400, To: flows.Reg3.From(31, 1)},
		flows.Push{From: flows.XXReg1.From(3, 100)}, flows.Pop{To: flows.EthSrc.All()},
		flows.Conjunction{ID: 7, Clause: 1, Clauses: 3}, flows.Conjunction{ID: 1 << 31, Clause: 64, Clauses: 64},
		flows.WriteMetadata{Value: 1, Mask: 3}, flows.WriteMetadata{Mask: ^uint64(0)}, flows.ClearActions,
		flows.WriteActions{Actions: []flows.Action{flows.Set(flows.Reg1, flows.Uint(1)), flows.OutputTo{Port: 1}}},
		flows.Goto{Table: 9},
		flows.Learn{Priority: flows.LearnPriority}, flows.Learn{
			Table: 9, Priority: 7, IdleTimeout: 1, HardTimeout: 2, FinIdleTimeout: 3, FinHardTimeout: 4, Cookie: 5,
			SendFlowRemoved: true, DeleteLearned: true, Limit: 6, Result: flows.Reg1.From(3, 1), Specs: []flows.LearnSpec{
				{To: flows.EthDst.All(), From: flows.EthSrc.All()}, {To: flows.EthSrc.All(), From: flows.EthSrc.All()},
				{To: flows.EthType.All(), Value: flows.Uint(0x800)}, {To: flows.Reg1.From(3, 7), Value: flows.Uint(5)}, {To: flows.Reg1.From(8, 4)},
				{Kind: flows.LearnLoad, To: flows.XXReg1.All(), Value: flows.Value{0: 1, 15: 3}}, {Kind: flows.LearnLoad, To: flows.EthDst.All()},
				{Kind: flows.LearnLoad, To: flows.Reg0.From(0, 16), From: flows.InPort16.All()}, {Kind: flows.LearnOutput, From: flows.InPort16.All()},
			},
		},
	} {
		add(nil, a)
	}
	addr := netip.MustParseAddr
	for _, a := range []flows.Action{
		flows.DecTTL{}, flows.Number{Name: flows.SetTTL, N: 64},
		flows.CT{}, flows.CT{Zone: 65535, Recirculate: true, Table: 0}, flows.CT{ZoneFrom: flows.Reg12.From(0, 16), Recirculate: true, Table: 7},
		flows.CT{Commit: true, Force: true}, flows.CT{Exec: []flows.Action{flows.NAT{}}},
		flows.CT{Commit: true, Exec: []flows.Action{flows.NAT{Kind: flows.NATSource}}},
		flows.CT{Commit: true, Exec: []flows.Action{flows.NAT{Kind: flows.NATDestination, Min: addr("10.0.0.1"), PortMin: 80}}},
		flows.CT{Commit: true, Exec: []flows.Action{flows.NAT{Kind: flows.NATSource, Min: addr("10.0.0.1"), Max: addr("10.0.0.9"), Persistent: true, Hash: true}}},
		flows.CT{Commit: true, Exec: []flows.Action{flows.NAT{Kind: flows.NATSource, Min: addr("10.0.0.1"), PortMin: 80, PortMax: 90, Random: true}, flows.Set(flows.CTMark, flows.Uint(1))}},
		flows.CT{Commit: true, Exec: []flows.Action{flows.Set(flows.CTMark, flows.Uint(1)), flows.NAT{}}},
	} {
		add(v4, a)
	}
	for _, m := range []flows.Match{
		v4.Is(flows.IPFrag, flows.Uint(3)), v4.Masked(flows.IPFrag, flows.Uint(0), flows.Uint(2)), v4.Is(flows.IPFrag, flows.Uint(0)),
		v4.Is(flows.CTState, flows.Uint(0x30)), v4.Is(flows.CTState, flows.Uint(0)), tcp.Masked(flows.TCPFlags, flows.Uint(2), flows.Uint(0x16)),
		tcp.Is(flows.TCPFlags, flows.Uint(0)), tcp.Masked(flows.TCPFlags, flows.Uint(0x12), flows.Uint(0xfff)),
		flows.Match{}.Is(flows.VLANTCI, flows.Uint(0)), flows.Match{}.Is(flows.VLANTCI, flows.Uint(0xf005)), tagged.Is(flows.VLANPCP, flows.Uint(5)),
		flows.Match{}.Is(flows.VLANVID, flows.Uint(0x1005)), flows.Match{}.Masked(flows.TunMetadata(1), flows.Value{}, flows.Value{}),
	} {
		add(m)
	}
	add(v6, flows.CT{Commit: true, Exec: []flows.Action{flows.NAT{Kind: flows.NATDestination, Min: addr("fd00::1"), Max: addr("fd00::2"), PortMin: 1, PortMax: 2}}})
	add(v6, flows.CT{Commit: true, Exec: []flows.Action{flows.NAT{Kind: flows.NATDestination, Min: addr("::1.2.3.4")}}})
	add(tcp, flows.CT{Commit: true, ALG: flows.ALGFTP})
	add(tcp, flows.FinTimeout{Idle: 3}, flows.FinTimeout{Hard: 4}, flows.FinTimeout{Idle: 1, Hard: 2})
	add(tracked, flows.Resubmit{Table: 3, CT: true}, flows.Resubmit{Port: 9, Table: 4, CT: true}, flows.Resubmit{Table: flows.SameTable, CT: true})
	add(tagged, flows.PopVLAN)
	add(nil, flows.Number{Name: flows.PushVLAN, N: 0x8100}, flows.Set(flows.VLANVID, flows.Uint(0x1005)))
	add(v4, flows.Number{Name: flows.PushMPLS, N: 0x8847})
	add(flows.Match{}.Is(flows.EthType, flows.Uint(0x8847)), flows.Number{Name: flows.PopMPLS, N: 0x800})
	add(nil, flows.OutputTo{Port: 1}, flows.ClearActions, flows.WriteActions{Actions: []flows.Action{flows.OutputTo{Port: 2}}}, flows.WriteMetadata{Value: 1, Mask: 1}, flows.Goto{Table: 9})
	return out
}

// TestEveryFieldAndAction puts flows with each field and each action into a switch: it
// gives them back as they were, and ovs-ofctl says them in our words.
func TestEveryFieldAndAction(t *testing.T) {
	noLeak(t)
	ovs, c := ready(t)
	for what, list := range map[string][]flows.Flow{"field": everyField(), "action": everyAction()} {
		var taken []flows.Flow
		for _, f := range list {
			if err := c.Apply(t.Context(), openflow.Change{Add: []flows.Flow{f}}); err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			taken = append(taken, f)
		}
		t.Logf("%s: %d flows", what, len(taken))
		slices.SortFunc(taken, flows.Compare)
		got := dumped(t, c)
		for i, f := range got {
			if i < len(taken) && !f.Equal(taken[i]) {
				t.Errorf("%v\ncomes back as\n%v: %#v", taken[i], f, f.Actions)
			}
		}
		if diff := cmp.Diff(sorted(lines(got)), sorted(ovsWords(ovs))); diff != "" {
			t.Errorf("%s: ovs-ofctl says it otherwise (-ours +its):\n%s", what, diff)
		}
		equal(t, "parsed", spoken(t, ovs), got)
		apply(t, c, openflow.Change{Remove: dump(t, c)})
		equal(t, "left after removal", dumped(t, c), nil)
	}
}
