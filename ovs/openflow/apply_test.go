package openflow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

func TestRefusedFlowIsNamedAndNothingChanges(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	before := routes(20)
	apply(t, c, openflow.Change{Add: before})
	to := func(a ...flows.Action) []flows.Action { return a }
	tcp := flows.Match{}.IPv4().Is(flows.IPProto, flows.Uint(6))
	for _, tc := range []struct {
		what string
		flow flows.Flow
		want string
	}{
		{"output to a port that cannot be", flows.Flow{Actions: to(flows.OutputTo{Port: 0x10000})}, "OFPBAC_BAD_OUT_PORT"},
		{"a group that is not there (found at the commit)", flows.Flow{Actions: to(flows.ToGroup{Group: 77})}, "OFPBAC_BAD_OUT_GROUP"},
		{"an address in a match of any packet", flows.Flow{Match: flows.Match{}.Is(flows.IPv4Dst, flows.Uint(1))}, "OFPBMC_BAD_PREREQ"},
		{"an address set in any packet", flows.Flow{Actions: to(flows.Set(flows.IPv4Dst, flows.Uint(1)))}, "OFPBAC_MATCH_INCONSISTENT"},
		{"a value outside its mask", flows.Flow{Actions: to(flows.SetField{Field: flows.Reg0, Value: flows.Uint(3), Mask: flows.Uint(1)})}, "OFPBMC_BAD_WILDCARDS"},
		{"a field that cannot be set", flows.Flow{Actions: to(flows.Set(flows.CTMark, flows.Uint(1)))}, "OFPBAC_BAD_SET_ARGUMENT"},
		{"goto_table backwards", flows.Flow{Table: 9, Actions: to(flows.Goto{Table: 8})}, "OFPBIC_BAD_TABLE_ID"},
		{"goto_table in the middle", flows.Flow{Actions: to(flows.Goto{Table: 8}, flows.DecTTL{})}, "not the last"},
		{"a port without a protocol", flows.Flow{Match: flows.Match{}.IPv4().Is(flows.TCPDst, flows.Uint(80))}, "OFPBMC_BAD_PREREQ"},
		{"a masked field that is whole", flows.Flow{Match: flows.Match{}.Masked(flows.CTZone, flows.Uint(1), flows.Uint(1))}, "ct_zone cannot be masked"},
		{"fields of two widths", flows.Flow{Match: tcp, Actions: to(flows.Copy(flows.TCPSrc, flows.Reg0))}, "differ in width"},
		{"a message that is too long", flows.Flow{Actions: long(8_000)}, "longer than 60000 bytes"},
		{"a note that is too long", flows.Flow{Actions: to(flows.Note{Bytes: strings.Repeat("x", 59_960)})}, "longer than 60000 bytes"},
		{"actions within an action that are too long", flows.Flow{Match: tcp, Actions: to(flows.Clone{Actions: long(1_500)})}, "would end the switch"},
		{"a set of actions that is too long", flows.Flow{Match: tcp, Actions: to(flows.WriteActions{Actions: long(1_500)})}, "would end the switch"},
		{"a learned flow that is too long", flows.Flow{Actions: to(learning(1_000))}, "would end the switch"},
		{"a learned flow that no length field could tell", flows.Flow{Actions: to(learning(40_000))}, "longer than"},
		{"data for the controllers that is too long", flows.Flow{Actions: to(flows.Controller{UserData: strings.Repeat("x", 70_000)})}, "longer than 60000 bytes"},
		{"packets for the controllers as an output", flows.Flow{Actions: to(flows.OutputTo{Port: flows.PortController})}, "flows.Controller"},
		{"bits that a field does not have", flows.Flow{Actions: to(flows.OutputField{From: flows.Reg0.From(20, 16)})}, "it has 32"},
		{"an instruction within an action", flows.Flow{Actions: to(flows.Clone{Actions: to(flows.Goto{Table: 8})})}, "is an instruction"},
		{"half an action", flows.Flow{Actions: to(flows.Raw{Bytes: "\x00\x00\x00"})}, "is no action"},
		{"a message that no length field could tell", flows.Flow{Actions: long(80_000)}, "longer than 60000 bytes"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			tc.flow.Priority, tc.flow.Cookie = 9, 0xbad
			add := routes(2000)[100:]
			add[1234] = tc.flow
			err := c.Apply(t.Context(), openflow.Change{Add: add, Remove: remove(before[0])})
			var bad *openflow.FlowError
			if !errors.As(err, &bad) || !bad.Flow.Equal(tc.flow) {
				t.Fatalf("does not name the flow: %v", err)
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "cookie=0xbad") || len(err.Error()) > 1000 {
				t.Errorf("%v", err)
			}
			var reason *openflow.Error
			if strings.HasPrefix(tc.want, "OFP") && (!errors.As(err, &reason) || reason.Name() != tc.want) {
				t.Errorf("error %v", reason)
			}
			if errors.Is(err, openflow.ErrTooLarge) != strings.Contains(tc.want, "longer than") {
				t.Errorf("ErrTooLarge: %v", err)
			}
			equal(t, "afterwards", dumped(t, c), before)
		})
	}
}

func long(n int) []flows.Action {
	out := make([]flows.Action, n)
	for i := range out {
		out[i] = flows.DecTTL{}
	}
	return out
}

func learning(n int) flows.Learn {
	spec := flows.LearnSpec{To: flows.EthDst.All(), From: flows.EthSrc.All()}
	return flows.Learn{Table: 4, Specs: slices.Repeat([]flows.LearnSpec{spec}, n)}
}

// TestSwitchThatRefusesEveryFlowDoesNotBlock lets far more errors come back than
// fit into the socket while the flows are still being written.
func TestSwitchThatRefusesEveryFlowDoesNotBlock(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	add := routes(100_000)
	for i := range add {
		add[i].Actions = []flows.Action{flows.OutputTo{Port: 0x10000}}
	}
	err := c.Apply(t.Context(), openflow.Change{Add: add})
	var all *openflow.ChangeError
	if !errors.As(err, &all) || len(all.Errs) != len(add) {
		t.Fatalf("%v", err)
	}
	for i, err := range all.Errs {
		var bad *openflow.FlowError
		if !errors.As(err, &bad) || bad.Flow.Cookie != add[i].Cookie {
			t.Fatalf("error %d: %v", i, err)
		}
	}
	if n := strings.Count(err.Error(), "OFPBAC_BAD_OUT_PORT"); n > 10 || !strings.Contains(err.Error(), "and 99995 more") {
		t.Errorf("%v", err)
	}
	apply(t, c, openflow.Change{Add: routes(1)})
}

func TestHundredThousandFlowsComeBack(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	want := routes(100_000)
	apply(t, c, openflow.Change{Add: want})
	got := dump(t, c)
	if len(got) != len(want) {
		t.Fatalf("%d flows", len(got))
	}
	for _, e := range got {
		if e.Strange != "" || !e.Flow.Equal(want[e.Flow.Cookie-1]) {
			t.Fatalf("got %v %s", e.Flow, e.Strange)
		}
	}
	apply(t, c, openflow.Change{Remove: got})
	equal(t, "after removal", dumped(t, c), nil)
}

func TestRemovalsComeFirstAndMissingFlowsAreNoError(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	a, b := drop(1, 10, flows.Match{}.InPort(1)), drop(1, 10, flows.Match{}.InPort(2))
	apply(t, c, openflow.Change{Add: []flows.Flow{a}, Remove: remove(a, b)})
	equal(t, "a", dumped(t, c), []flows.Flow{a})

	again := a
	again.Cookie, again.Actions = 7, []flows.Action{flows.OutputTo{Port: 3}}
	apply(t, c, openflow.Change{Add: []flows.Flow{again}})
	equal(t, "in its place", dumped(t, c), []flows.Flow{again})

	apply(t, c, openflow.Change{Remove: remove(a, drop(1, 11, a.Match), drop(2, 10, a.Match), drop(1, 10, nil))})
	equal(t, "by its key alone", dumped(t, c), nil)
	apply(t, c, openflow.Change{})
}

func TestStrangeFlowsAreDumpedAndCanBeRemoved(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	ours := routes(3)
	apply(t, c, openflow.Change{Add: ours})
	for i, text := range []string{
		"dl_type=0x894f,nsh_ttl=3,actions=drop",
		"actset_output=3,reg3=7/0xf,actions=output:1",
		"tun_erspan_idx=7,ip,nw_dst=10.0.0.0/8,actions=ct(commit,zone=1,nat(src=10.9.9.9),table=8)",
		"tun_metadata0=0x" + strings.Repeat("ab", 20) + ",actions=drop",
	} {
		t.Run(text, func(t *testing.T) {
			if strings.Contains(text, "tun_metadata") {
				ovs.Ofctl("add-tlv-map", "br0", "{class=0xffff,type=0,len=20}->tun_metadata0")
			}
			key := fmt.Sprintf("cookie=%#x,table=5,priority=%d,", i+100, i+1)
			ovs.Ofctl("add-flow", "br0", key+text)
			var strange []openflow.Entry
			for _, e := range dump(t, c) {
				if e.Strange != "" {
					strange = append(strange, e)
				}
			}
			if len(strange) != 1 {
				t.Fatalf("strange: %v", strange)
			}
			e := strange[0]
			if !e.Flow.Equal(flows.Flow{Table: 5, Priority: uint16(i + 1), Cookie: flows.Cookie(i + 100)}) {
				t.Errorf("key %v", e.Flow)
			}
			t.Log(e.Strange)
			apply(t, c, openflow.Change{Remove: strange})
			equal(t, "what is left", dumped(t, c), ours)
		})
	}
	err := c.Apply(t.Context(), openflow.Change{Remove: []openflow.Entry{{Strange: "somebody else's words"}}})
	if err == nil || !strings.Contains(err.Error(), "somebody else's words") {
		t.Errorf("%v", err)
	}
}

// TestUnknownActionsAreKept: a flow with actions that the vocabulary has no words for is
// still a flow, and goes in again as it was.
func TestUnknownActionsAreKept(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	for i, text := range []string{
		"actions=bundle(eth_src,0,hrw,ofport,members:4,8),output:3",
		"reg1=5,actions=output:1,multipath(eth_src,50,modulo_n,1,0,NXM_NX_REG0[])",
		"actions=sample(probability=3,collector_set_id=1),resubmit(,7)",
		"ip,actions=dec_ttl(1,2)",
		"actions=clone(encap(ethernet),output:1)",
		"dl_type=0x894f,actions=move:NXOXM_NSH_C1[]->NXM_NX_REG0[]",
	} {
		t.Run(text, func(t *testing.T) {
			ovs.Ofctl("add-flow", "br0", fmt.Sprintf("cookie=%#x,table=5,priority=%d,", i+100, i+1)+text)
			words := ovsWords(ovs)
			got := dumped(t, c)
			if len(got) != 1 || !strings.Contains(got[0].String(), "raw:") {
				t.Fatalf("%v", got)
			}
			if again, _, err := flows.Parse(got[0].String()); err != nil || !again.Equal(got[0]) {
				t.Errorf("%v is read as %v: %v", got[0], again, err)
			}
			apply(t, c, openflow.Change{Remove: dump(t, c)})
			apply(t, c, openflow.Change{Add: got})
			equal(t, "again", dumped(t, c), got)
			if diff := cmp.Diff(words, ovsWords(ovs)); diff != "" {
				t.Errorf("ovs-ofctl says it otherwise (-its own +ours):\n%s", diff)
			}
			apply(t, c, openflow.Change{Remove: dump(t, c)})
		})
	}
}

func TestCountersAreRead(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	apply(t, c, openflow.Change{Add: []flows.Flow{drop(0, 1, flows.Match{}.InPort(flows.PortLocal))}})
	for range 3 {
		ovs.Ofctl("packet-out", "br0", "in_port=LOCAL,packet=ffffffffffff0000000000010800"+strings.Repeat("00", 50)+",actions=TABLE")
	}
	if s := dump(t, c)[0].Stats; s.Packets != 3 || s.Bytes != 3*64 {
		t.Errorf("%+v", s)
	}
}

func TestEndedContextChangesNothing(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	change := openflow.Change{Add: routes(10_000)}
	for what, err := range map[string]error{
		"apply": c.Apply(ctx, change), "barrier": c.Barrier(ctx), "dump": func() error { _, err := c.Dump(ctx); return err }(),
	} {
		if !errors.Is(err, context.Canceled) || errors.Is(err, openflow.ErrLost) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Somewhere in the middle: all or nothing, as the error says.
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for range i * 3 {
				c.Barrier(t.Context())
			}
			cancel()
		}()
		want := []flows.Flow(nil)
		if err := c.Apply(ctx, change); err == nil {
			want = change.Add
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if got := dump(t, c); len(got) != len(want) {
			t.Fatalf("%d flows instead of %d", len(got), len(want))
		}
		apply(t, c, openflow.Change{Remove: remove(want...)})
		cancel()
	}
}

func TestADumpByCookieHoldsTheFlowsOfOneOwner(t *testing.T) {
	_, socket := bridge(t)
	c := dial(t, socket)
	all := routes(30)
	owner := func(n int) flows.Owner { return flows.Owner{Kind: flows.OwnerPod, Name: fmt.Sprint("pod", n)} }
	for i := range all {
		all[i].Cookie = owner(i % 3).Cookie(flows.Rule(i))
	}
	apply(t, c, openflow.Change{Add: all})
	for n := range 4 { // the last has none
		list, err := c.DumpCookies(t.Context(), owner(n).Cookie(0), flows.OwnerMask)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []flows.Flow
		for _, e := range list {
			got = append(got, e.Flow)
		}
		for i, f := range all {
			if i%3 == n {
				want = append(want, f)
			}
		}
		flows.Sort(got)
		flows.Sort(want)
		equal(t, owner(n).Name, got, want)
	}
}

func TestMethodsMayBeCalledTogether(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	var wg sync.WaitGroup
	for g := range 8 {
		own := routes(50)
		for i := range own {
			own[i].Table, own[i].Cookie = flows.TableID(g), flows.Cookie(g)
			own[i].Actions = nil
		}
		wg.Go(func() {
			for range 20 {
				if err := c.Apply(t.Context(), openflow.Change{Add: own}); err != nil {
					t.Error(err)
				}
				list, err := c.Dump(t.Context())
				if err != nil {
					t.Error(err)
				}
				n := 0
				for _, e := range list {
					if e.Flow.Cookie == flows.Cookie(g) {
						n++
					}
				}
				if n != len(own) {
					t.Errorf("%d flows of %d", n, g)
				}
				if err := c.Apply(t.Context(), openflow.Change{Remove: remove(own...)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	equal(t, "at the end", dumped(t, c), nil)
}
