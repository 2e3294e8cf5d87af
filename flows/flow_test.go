package flows_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows"
	"pgregory.net/rapid"
)

func TestFlowsReadAsOVSWritesThem(t *testing.T) {
	mac := []byte{0x0a, 0x58, 0x0a, 0xf4, 0x01, 0x02}
	for _, c := range []struct {
		name string
		flow flows.Flow
		text string
	}{
		{"a miss drops",
			flows.Flow{Table: 17},
			"table=17, priority=0 actions=drop"},
		{"a prefix is written with its length, a protocol by its word",
			flows.Flow{Table: 8, Priority: 124, Cookie: 0x12, Match: flows.Match{}.Dst(netip.MustParsePrefix("10.244.2.0/24")),
				Actions: []flows.Action{flows.Set(flows.TunDst, flows.IP(netip.MustParseAddr("10.9.0.2"))), flows.Goto{Table: 17}}},
			"cookie=0x12, table=8, priority=124,ip,nw_dst=10.244.2.0/24 actions=set_field:10.9.0.2->tun_dst,goto_table:17"},
		{"terms stand in Open vSwitch's order, not in the author's",
			flows.Flow{Priority: 1, Match: flows.Match{}.Src(netip.MustParsePrefix("10.244.1.2/32")).EthSrc(mac).InPort(258).Origin(1)},
			"table=0, priority=1,ip,reg0=0x1/0x1,in_port=258,dl_src=0a:58:0a:f4:01:02,nw_src=10.244.1.2 actions=drop"},
		{"a prefix of no length is only a family",
			flows.Flow{Priority: 1, Match: flows.Match{}.Dst(netip.MustParsePrefix("::/0"))},
			"table=0, priority=1,ipv6 actions=drop"},
		{"tcp is one word with its EtherType",
			flows.Flow{Priority: 1, Match: flows.Match{}.IPv6().Is(flows.IPProto, flows.Uint(6)).Masked(flows.TCPDst, flows.Uint(80), flows.Uint(0xfff0))},
			"table=0, priority=1,tcp6,tp_dst=0x50/0xfff0 actions=drop"},
		{"conntrack's state is flags",
			flows.Flow{Priority: 1, Match: flows.Match{}.IPv4().Masked(flows.CTState, flows.Uint(0x21), flows.Uint(0x31))},
			"table=0, priority=1,ct_state=+new-inv+trk,ip actions=drop"},
		{"bits of a register are set under a mask, the port it came by has a name",
			flows.Flow{Priority: 1, Actions: []flows.Action{flows.SetBits(flows.Reg0, 1, 1), flows.Resubmit{Table: 18}, flows.DecTTL{}, flows.ToGroup{Group: 5}, flows.OutputTo{Port: flows.PortInPort}}},
			"table=0, priority=1 actions=set_field:0x1/0x1->reg0,resubmit(,18),dec_ttl,group:5,IN_PORT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.flow.String(); got != c.text {
				t.Errorf("String:\n got %s\nwant %s", got, c.text)
			}
			back, _, err := flows.Parse(c.text)
			if err != nil || !back.Equal(c.flow) {
				t.Errorf("Parse: got %s, %v", back, err)
			}
		})
	}
}

func TestDumpedCountersAreRead(t *testing.T) {
	f, s, err := flows.Parse(" cookie=0x4, duration=0.007s, table=1, n_packets=12, n_bytes=840, idle_age=3, priority=50,arp,in_port=258 actions=drop")
	if err != nil || f.Table != 1 || f.Cookie != 4 || s.Packets != 12 || s.Bytes != 840 {
		t.Errorf("got %s, %+v, %v", f, s, err)
	}
}

func TestWhatTheVocabularyLacksIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"priority=1,nsh_ttl=1 actions=drop":          `unknown word "nsh_ttl"`,
		"priority=1,nsh actions=drop":                `unknown word "nsh"`,
		"priority=1 actions=bundle(eth_src,0,hrw)":   `unknown action "bundle(eth_src,0,hrw)"`,
		"priority=1,nw_dst=10.0.0.0/33 actions=drop": "nw_dst: prefix length 33",
		"priority=1,nw_dst=fd00::1 actions=drop":     "no address of its family",
		"priority=1":                                 "no actions",
	} {
		if _, _, err := flows.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// TestEveryFlowComesBack: what is written is read back the same, for any flow that
// the vocabulary can say.
func TestEveryFlowComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFlow(t)
		back, _, err := flows.Parse(f.String())
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if !back.Equal(f) {
			t.Fatalf("wrote %s\n read %s", f, back)
		}
	})
}

func drawFlow(t *rapid.T) flows.Flow {
	value := func(f flows.Field, label string) flows.Value {
		v := flows.Uint(rapid.Uint64().Draw(t, label))
		if f.Bits() < 64 {
			v = flows.Uint(v.Uint64() & (1<<f.Bits() - 1))
		}
		return v
	}
	f := flows.Flow{
		Table:    flows.TableID(rapid.Uint8Max(253).Draw(t, "table")),
		Priority: rapid.Uint16().Draw(t, "priority"),
		Cookie:   flows.Cookie(rapid.Uint64().Draw(t, "cookie")),
	}
	field := rapid.SampledFrom([]flows.Field{
		flows.PktMark, flows.CTMark, flows.CTLabel, flows.Reg0, flows.Reg15, flows.TunID, flows.TunSrc, flows.TunIPv6Dst, flows.Metadata,
		flows.InPort, flows.EthSrc, flows.EthDst, flows.IPv4Src, flows.IPv4Dst, flows.IPv6Src, flows.ARPSpa, flows.ARPOp, flows.ARPSha,
		flows.TunGBPID, flows.NDTarget, flows.IPProto, flows.EthType,
	})
	for range rapid.IntRange(0, 5).Draw(t, "terms") {
		fld := field.Draw(t, "field")
		if rapid.Bool().Draw(t, "masked") && fld != flows.InPort {
			f.Match = f.Match.Masked(fld, value(fld, "value"), value(fld, "mask"))
		} else {
			f.Match = f.Match.Is(fld, value(fld, "value"))
		}
	}
	for range rapid.IntRange(0, 4).Draw(t, "actions") {
		fld := field.Draw(t, "field")
		f.Actions = append(f.Actions, rapid.SampledFrom([]flows.Action{
			flows.OutputTo{Port: uint32(rapid.Uint16().Draw(t, "port"))},
			flows.OutputTo{Port: flows.PortLocal}, flows.OutputTo{Port: flows.PortInPort},
			flows.Goto{Table: flows.TableID(rapid.Uint8().Draw(t, "to"))},
			flows.Resubmit{Table: flows.TableID(rapid.Uint8().Draw(t, "to"))},
			flows.DecTTL{}, flows.ToGroup{Group: rapid.Uint32().Draw(t, "group")},
			flows.Set(fld, value(fld, "set")),
			flows.Copy(flows.EthSrc, flows.EthDst),
		}).Draw(t, "action"))
	}
	return f
}

func TestGroupsReadAsOVSWritesThem(t *testing.T) {
	g := flows.Group{ID: 5, Method: "dp_hash", Buckets: []flows.Bucket{{ID: 0, Weight: 100, Actions: []flows.Action{flows.OutputTo{Port: 3}}}}}
	const want = "group_id=5,type=select,selection_method=dp_hash,bucket=bucket_id:0,weight:100,actions=output:3"
	if g.String() != want {
		t.Errorf("got  %s\nwant %s", g, want)
	}
}

func TestTheMatchMethodsLeaveTheirReceiverAlone(t *testing.T) {
	base := flows.Match{}.InPort(1)
	a, b := base.IPv4(), base.ARP()
	if base.String() != "in_port=1" || a.String() != "ip,in_port=1" || b.String() != "arp,in_port=1" {
		t.Errorf("got %q, %q, %q", base, a, b)
	}
}

func TestTableNumbersAndNamesAreUnique(t *testing.T) {
	names := map[string]bool{}
	last := -1
	for _, tab := range flows.Pipeline {
		if int(tab.ID) <= last || names[tab.Name] || tab.Purpose == "" {
			t.Errorf("table %d %s: out of order, a name twice, or no purpose", tab.ID, tab.Name)
		}
		last, names[tab.Name] = int(tab.ID), true
	}
}
