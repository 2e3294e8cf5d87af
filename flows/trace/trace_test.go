package trace

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
)

var (
	web = flows.Owner{Kind: flows.OwnerPod, Name: "shop/web"}
	n2  = flows.Owner{Kind: flows.OwnerNode, Name: "n2"}
	all = flows.Owner{Kind: flows.OwnerPipeline}
)

// TestParse reads what Open vSwitch 3.1 answered for a packet that leaves by the tunnel: the underlay's
// bridge is not looked at.
func TestParse(t *testing.T) {
	text, err := os.ReadFile("testdata/tunnel.txt")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("br-sluice", string(text))
	if err != nil {
		t.Fatal(err)
	}
	rule := flows.Owner{Kind: flows.OwnerPolicy, Name: "shop/web-sends-8080"}.Cookie(flows.PolicyRule(true, 0))
	miss := all.Cookie(flows.RuleMiss)
	want := Trace{Outputs: []uint32{1}, Steps: []Step{
		{Table: flows.Classify, Cookie: web.Cookie(flows.RuleEnter)},
		{Table: flows.SpoofGuard, Cookie: web.Cookie(flows.RuleSpeaks)},
		{Table: flows.Conntrack, Cookie: all.Cookie(flows.RuleTrack)},
		{Table: flows.State, Cookie: all.Cookie(flows.RuleNew)},
		{Table: flows.Destination, Cookie: n2.Cookie(flows.RuleRoute)},
		{Table: flows.EgressAdmin, Cookie: miss},
		{Table: flows.EgressPolicy, Cookie: web.Cookie(flows.RuleDispatch)},
		{Table: flows.Addresses, Depth: 1, Cookie: miss},
		{Table: flows.Calls, Depth: 1, Cookie: web.Cookie(flows.RuleCalls)},
		{Table: flows.Policies, Depth: 2, Cookie: rule, Policy: 0x4857b786},
		{Table: flows.EgressBaseline, Cookie: all.Cookie(flows.RuleVerdict)},
		{Table: flows.IngressAdmin, Cookie: miss},
		{Table: flows.IngressPolicy, Cookie: miss},
		{Table: flows.IngressBaseline, Cookie: miss},
		{Table: flows.EgressNAT, Cookie: miss},
		{Table: flows.Commit, Cookie: all.Cookie(flows.RuleCommit)},
		{Table: flows.Output, Cookie: all.Cookie(flows.RuleSend)},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !got.Judged() || got.Last() != want.Steps[16] {
		t.Errorf("judged %v, last %v", got.Judged(), got.Last())
	}
}

// TestParseDepths: of what a flow calls, Open vSwitch writes the last less far to the right.
func TestParseDepths(t *testing.T) {
	got, err := Parse("br0", `bridge("br0")
-------------
10. in_port=256, priority 100, cookie 0x1
    resubmit(,19)
    19. priority 0, cookie 0x2
    resubmit(,23)
    23. reg3=0xa0100, priority 100, cookie 0x3
            set_field:0x5->reg3
            resubmit(,18)
            18. priority 0, cookie 0x4
                    drop
            set_field:0x6->reg3
            resubmit(,18)
        18. priority 0, cookie 0x4
            drop
    goto_table:11
11. priority 0, cookie 0x4
    drop
`)
	want := []Step{
		{Table: 10, Cookie: 1}, {Table: 19, Depth: 1, Cookie: 2}, {Table: 23, Depth: 1, Cookie: 3},
		{Table: 18, Depth: 2, Cookie: 4, Policy: 5}, {Table: 18, Depth: 2, Cookie: 4, Policy: 6}, {Table: 11, Cookie: 4},
	}
	if d := cmp.Diff(want, got.Steps); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestParseWhatIsMissing(t *testing.T) {
	got, err := Parse("br-sluice", "bridge(\"br-sluice\")\n-------\n 0. in_port=1, priority 100, cookie 0x7\n    goto_table:1\n 1. No match.\n    drop\n")
	if err != nil || got.Judged() || len(got.Outputs) != 0 || got.Last() != (Step{Table: 1, Missing: true}) {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = Parse("br-sluice", "bridge(\"br-sluice\")\n-------\n17. priority 7, cookie 0x7\n    output:4\n    output:1\n     -> output to native tunnel\n     >> native tunnel routing failed\n    drop\n     >> over max\n")
	if err != nil || !slices.Equal(got.Outputs, []uint32{4}) || !slices.Equal(got.Warnings, []string{"native tunnel routing failed", "over max"}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", "Flow: ip\n", "bridge(\"br-phy\")\n 0. priority 0\n", "bridge(\"br-sluice\")\n999. priority 0\n", "bridge(\"br-sluice\")\n 0. priority 0, cookie 0x11112222333344445\n"} {
		if got, err := Parse("br-sluice", text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

var cluster = state.State{
	Node: "n1",
	Nodes: []state.Node{
		{Name: "n1", Addresses: addrs("10.9.0.1", "fd09::1"), PodCIDRs: cidrs("10.244.1.0/24", "fd01::/64")},
		{Name: "n2", Addresses: addrs("10.9.0.2"), PodCIDRs: cidrs("10.244.2.0/24")},
		{Name: "n3", Addresses: addrs("fd09::3"), PodCIDRs: cidrs("10.244.3.0/24", "fd03::/64")},
	},
	Attachments: []state.Attachment{
		{PodNamespace: "shop", PodName: "old", ContainerID: "b", OFPort: 300, MAC: "0a:58:00:00:00:01", Addresses: addrs("10.244.1.2"), Created: 1},
		{PodNamespace: "shop", PodName: "web", ContainerID: "a", OFPort: 258, MAC: "0a:58:0a:f4:01:02", Addresses: addrs("10.244.1.2", "fd01::2"), Created: 2},
	},
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func cidrs(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestPackets(t *testing.T) {
	const tracked, router = "ct_state=0x21,ct_zone=100,", "dl_dst=0a:58:a9:fe:00:01,"
	const pod = tracked + "in_port=258,dl_src=0a:58:0a:f4:01:02," + router
	const host = tracked + "in_port=2," + router
	for _, c := range []struct {
		source, destination string
		protocol            state.Protocol
		port                uint16
		want                string
	}{
		{"10.244.1.2", "10.244.2.7", state.TCP, 80, `
new from pod shop/web: ` + pod + `tcp,nw_src=10.244.1.2,nw_dst=10.244.2.7,nw_ttl=64,tcp_src=40000,tcp_dst=80 --ct-next trk,new
known from pod shop/web: ` + pod + `tcp,nw_src=10.244.1.2,nw_dst=10.244.2.7,nw_ttl=64,tcp_src=40000,tcp_dst=80,ct_nw_src=10.244.1.2,ct_nw_dst=10.244.2.7,ct_nw_proto=6,ct_tp_src=40000,ct_tp_dst=80,ct_mark=0x1060050,ct_label=0x0af40207 --ct-next trk,est
reply by the tunnel from node n2: ` + tracked + `in_port=1,tun_id=0,tun_src=10.9.0.2,tun_dst=10.9.0.1,dl_src=0a:58:0a:f4:02:07,` + router + `tcp,nw_src=10.244.2.7,nw_dst=10.244.1.2,nw_ttl=64,tcp_src=80,tcp_dst=40000,ct_nw_src=10.244.1.2,ct_nw_dst=10.244.2.7,ct_nw_proto=6,ct_tp_src=40000,ct_tp_dst=80,ct_mark=0x1060050,ct_label=0x0af40207 --ct-next trk,est,rpl
older known from pod shop/web: ` + pod + `tcp,nw_src=10.244.1.2,nw_dst=10.244.2.7,nw_ttl=64,tcp_src=40000,tcp_dst=80,ct_nw_src=10.244.1.2,ct_nw_dst=10.244.2.7,ct_nw_proto=6,ct_tp_src=40000,ct_tp_dst=80 --ct-next trk,est
older reply by the tunnel from node n2: ` + tracked + `in_port=1,tun_id=0,tun_src=10.9.0.2,tun_dst=10.9.0.1,dl_src=0a:58:0a:f4:02:07,` + router + `tcp,nw_src=10.244.2.7,nw_dst=10.244.1.2,nw_ttl=64,tcp_src=80,tcp_dst=40000,ct_nw_src=10.244.1.2,ct_nw_dst=10.244.2.7,ct_nw_proto=6,ct_tp_src=40000,ct_tp_dst=80 --ct-next trk,est,rpl`},
		{"fd00::9", "fd01::2", "ICMP", 0, `
new from the host: ` + host + `icmp6,ipv6_src=fd00::9,ipv6_dst=fd01::2,nw_ttl=64,icmpv6_type=128 --ct-next trk,new
known from the host: ` + host + `icmp6,ipv6_src=fd00::9,ipv6_dst=fd01::2,nw_ttl=64,icmpv6_type=128,ct_ipv6_src=fd00::9,ct_ipv6_dst=fd01::2,ct_nw_proto=58,ct_tp_src=128,ct_tp_dst=0 --ct-next trk,est
reply from pod shop/web: ` + pod + `icmp6,ipv6_src=fd01::2,ipv6_dst=fd00::9,nw_ttl=64,icmpv6_type=129,ct_ipv6_src=fd00::9,ct_ipv6_dst=fd01::2,ct_nw_proto=58,ct_tp_src=128,ct_tp_dst=0 --ct-next trk,est,rpl`},
		{"10.244.3.1", "10.244.2.7", state.UDP, 53, ""},
	} {
		var got strings.Builder
		for _, p := range Packets(cluster, verdict.Connection{
			Source: netip.MustParseAddr(c.source), Destination: netip.MustParseAddr(c.destination), Protocol: c.protocol, Port: c.port,
		}) {
			got.WriteString("\n" + p.Stage + " " + p.From + ": " + strings.Join(p.Args, " "))
		}
		if d := cmp.Diff(c.want, got.String()); d != "" {
			t.Error(d)
		}
	}
	byIPv6 := Packets(cluster, verdict.Connection{Source: netip.MustParseAddr("10.244.3.9"), Destination: netip.MustParseAddr("10.244.1.2"), Protocol: state.SCTP, Port: 9})
	if len(byIPv6) != len(Stages) || !strings.Contains(byIPv6[0].Args[0], "tun_ipv6_src=fd09::3,tun_ipv6_dst=fd09::1,") || !strings.Contains(byIPv6[0].Args[0], ",sctp,") {
		t.Errorf("%v", byIPv6)
	}
}
