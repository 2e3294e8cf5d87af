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

// TestTextsComeBackAsTheyWere: what ovs-ofctl prints is read and written the same.
func TestTextsComeBackAsTheyWere(t *testing.T) {
	for _, text := range []string{
		"table=0, idle_timeout=3, hard_timeout=4, send_flow_rem no_packet_counts no_byte_counts importance=5, priority=1 actions=drop",
		"table=6, priority=90,ct_state=-inv+trk,ct_mark=0/0x1000000,ct_label=0xaf4010c,ct_nw_src=10.0.0.0/8,ct_nw_proto=6,ct_tp_dst=80,tcp,reg5=0x2/0x3 actions=ct(table=7,zone=NXM_NX_REG12[0..15],nat)",
		"table=6, priority=90,ct_state=new|trk,ip,nw_tos=16,nw_ecn=1,nw_ttl=64,nw_frag=not_later actions=ct(commit,force,zone=1,nat(src=10.0.0.1-10.0.0.9:1024-65535,random),exec(set_field:0x1/0xffff->ct_mark,move:NXM_OF_IP_DST[]->NXM_NX_CT_LABEL[0..31]))",
		"table=0, priority=1,tcp6,tp_dst=80,tcp_flags=+syn-ack actions=ct(commit,nat(dst=[fd00::1]:80),alg=ftp),ct_clear",
		"table=0, priority=1,icmp6,icmp_type=135,icmp_code=0,nd_target=fd00::1,nd_sll=00:00:00:00:00:01 actions=set_field:136->icmpv6_type,set_field:2->nd_options_type,set_field:3758096384->nd_reserved,IN_PORT",
		"table=0, priority=1,dl_vlan=5,dl_vlan_pcp=3,dl_type=0x88cc actions=pop_vlan,push_vlan:0x8100,set_field:4099->vlan_vid",
		"table=0, priority=1,ip,reg0=0x1,dl_src=00:00:00:00:00:01,nw_dst=1.2.3.4,nw_proto=47 actions=mod_nw_ttl:9,dec_ttl",
		"table=0, priority=1,tun_id=0x1,tun_gbp_id=0x0/0x1,tun_flags=+oam,tun_metadata0=0x1/0xff,tun_metadata6 actions=set_field:oam->tun_flags",
		"table=0, priority=1 actions=controller(reason=no_match,max_len=9,id=3,userdata=01.02,pause,meter_id=1),CONTROLLER:128,output(port=1,max_len=100)",
		"table=0, priority=1 actions=learn(table=9,idle_timeout=1,priority=7,delete_learned,cookie=0x5,limit=6,result_dst=NXM_NX_REG1[3],eth_type=0x800,NXM_OF_IP_SRC[],NXM_NX_REG2[0..15]=0x9,load:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15],output:NXM_OF_IN_PORT[])",
		"table=0, priority=1 actions=resubmit(3,4),resubmit:5,resubmit(,6,ct),clone(output:1,clone(drop)),note:61.00.00.00.00.00,conjunction(7,1/3)",
		"table=0, priority=1 actions=meter:3,set_queue:1,pop_queue,push:NXM_NX_REG0[],pop:NXM_NX_REG0[0..3],check_pkt_larger(1400)->NXM_NX_REG0[0],exit",
		"table=0, priority=1 actions=output:NXM_NX_REG1[],raw:ffff001000002320000c000000000000,clear_actions,write_actions(group:5),write_metadata:0x1/0x3,goto_table:9",
	} {
		f, _, err := flows.Parse(text)
		if err != nil || f.String() != text {
			t.Errorf("read and written:\n got %s\nwant %s\n%v", f, text, err)
		}
	}
}

// TestOtherWordsMeanTheSame: what ovs-ofctl takes and prints otherwise.
func TestOtherWordsMeanTheSame(t *testing.T) {
	for text, want := range map[string]string{
		"xxreg1=0x1000000000000000000000002,actions=drop":           "reg4=0x1,reg5=0,reg6=0,reg7=0x2 actions=drop",
		"xreg1=1/0xff,actions=drop":                                 "reg3=0x1/0xff actions=drop",
		"tcp,tcp_dst=80,actions=strip_vlan":                         "tcp,tp_dst=80 actions=pop_vlan",
		"tp_dst=80,udp,actions=local":                               "udp,tp_dst=80 actions=LOCAL",
		"ip,ip_frag=later,actions=load:0xa->NXM_OF_ETH_SRC[40..47]": "ip,nw_frag=later actions=set_field:0a:00:00:00:00:00/ff:00:00:00:00:00->eth_src",
		"vlan_vid=0x1005,actions=set_tunnel:7":                      "dl_vlan=5 actions=set_field:0x7->tun_id",
		"actions=ct(nat,zone=5),controller":                         " actions=ct(zone=5,nat),CONTROLLER:65535",
	} {
		f, _, err := flows.Parse("table=1,priority=2," + text)
		if got := strings.Replace(f.String(), "table=1, priority=2,", "", 1); err != nil || strings.Replace(got, "table=1, priority=2", "", 1) != want {
			t.Errorf("%s:\n got %s\nwant %s\n%v", text, f, want, err)
		}
	}
}

func TestWhatASwitchDoesNotKeepMakesNoDifference(t *testing.T) {
	f := flows.Flow{Flags: flows.SendFlowRemoved}
	other := f
	if other.Flags |= flows.CheckOverlap | flows.ResetCounts; !f.Equal(other) {
		t.Error("how a flow is put in is no part of it")
	}
	for _, change := range []func(f *flows.Flow){
		func(f *flows.Flow) { f.Flags = 0 }, func(f *flows.Flow) { f.IdleTimeout = 1 }, func(f *flows.Flow) { f.HardTimeout = 1 },
		func(f *flows.Flow) { f.Importance = 1 }, func(f *flows.Flow) { f.Flags |= flows.NoByteCounts },
		func(f *flows.Flow) { f.Actions = []flows.Action{flows.CT{}} },
	} {
		other := f
		if change(&other); f.Equal(other) {
			t.Errorf("%v equals %v", f, other)
		}
	}
	a, b := flows.CT{Exec: []flows.Action{flows.NAT{}}}, flows.CT{Exec: []flows.Action{flows.Set(flows.CTMark, flows.Uint(1))}}
	if !flows.EqualActions([]flows.Action{a}, []flows.Action{a}) || flows.EqualActions([]flows.Action{a}, []flows.Action{b}) {
		t.Error("actions within an action")
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

func TestATermWithoutBitsSaysNothing(t *testing.T) {
	base := flows.Match{}.InPort(1)
	for f := range flows.NumFields {
		if got := base.Masked(f, flows.Uint(1), flows.Value{}); f != flows.InPort && !f.Variable() && f.Maskable() && !got.Equal(base) {
			t.Errorf("%v: %v", f, got)
		}
	}
	for _, line := range []string{"vlan_tci=0/0xa000", "vlan_tci=0/0", "ct_state=+dnat", "nw_src=10.0.0.1/0", "reg1=5/0"} {
		f, _, err := flows.Parse("in_port=1," + line + " actions=drop")
		if err != nil || len(f.Match) > 2 || strings.HasSuffix(f.Match.String(), "/0") {
			t.Errorf("%s: %v, %v", line, f, err)
		}
	}
	if m := (flows.Match{}).Masked(flows.TunMetadata0, flows.Value{}, flows.Value{}); m.String() != "tun_metadata0" {
		t.Errorf("a tunnel option is there: %q", m)
	}
}

func TestACookieSaysWhichRuleOfAPolicyItIs(t *testing.T) {
	policy, pod := flows.Owner{Kind: flows.OwnerPolicy, Name: "shop/db"}, flows.Owner{Kind: flows.OwnerPod, Name: "shop/db"}
	for want, c := range map[string]flows.Cookie{
		"allowed by spec.ingress[0]":  policy.Cookie(flows.PolicyRule(false, 0)),
		"allowed by spec.egress[300]": policy.Cookie(flows.PolicyRule(true, 300)),
		"is here":                     pod.Cookie(flows.RuleDeliver),
	} {
		if got := c.Words(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
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
