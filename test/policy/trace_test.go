// Package policy_test asks a real switch what compiled policies do.
package policy_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
	"github.com/sluice-cni/sluice/flows/verdict"
	"github.com/sluice-cni/sluice/ovs/appctl"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// cases is how many packets are asked about in each drawn cluster.
const cases = 30

// stages are the packets of a connection: what opens it, what its opener sends later, and what comes back; the
// latter two also of a connection that no policy judged when it began.
var stages = []string{"new", "known", "reply", "known" + unmarked, "reply" + unmarked}

const unmarked = ", older than the first policy"

// ping is the protocol of what has no ports.
const ping state.Protocol = "ICMP"

// TestASwitchDoesWhatTheVerdictSays: the compiled flows of drawn clusters in a switch, and packets
// between drawn ends by ofproto/trace, in all stages.
func TestASwitchDoesWhatTheVerdictSays(t *testing.T) {
	conn, ctl := bridge(t)
	asked, dropped := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := statetest.DrawPolicies(t)
		put(t, conn, policy.Compile(s).Flows())
		ends := endsOf(s)
		for range cases {
			from, to := rapid.SampledFrom(ends).Draw(t, "from"), rapid.SampledFrom(ends).Draw(t, "to")
			if from.address.Is4() != to.address.Is4() || from.ofport == remote && to.ofport == remote || from.address == to.address {
				continue
			}
			c := verdict.Connection{
				Source: from.address, Destination: to.address,
				Protocol: rapid.SampledFrom([]state.Protocol{state.TCP, state.UDP, state.SCTP, ping}).Draw(t, "protocol"),
				Port:     rapid.SampledFrom(statetest.PolicyPorts).Draw(t, "port"),
			}
			if c.Protocol == ping {
				c.Port = 0
			}
			v := verdict.Judge(s, c)
			want := (v.Egress.Allowed || from.ofport == remote) && (v.Ingress.Allowed || to.ofport == remote)
			for _, stage := range stages {
				asked++
				if !want {
					dropped++
				}
				if got, text := passes(t, ctl, c, from, to, stage); got != want {
					t.Fatalf("%s packet passes: %v\negress: %s\ningress: %s\n%s", stage, got, v.Egress.Reason, v.Ingress.Reason, text)
				}
			}
		}
	})
	t.Logf("%d packets, %d of them dropped", asked, dropped)
	if !t.Failed() && (dropped == 0 || dropped == asked) {
		t.Error("all packets fare alike: nothing was tried")
	}
}

// remote is the port of what is not here.
const remote = 1

type end struct {
	address netip.Addr
	ofport  uint32
}

// endsOf are the addresses of a state and some that nobody has; local ones come more often.
func endsOf(s state.State) []end {
	ports := map[netip.Addr]end{}
	for _, a := range statetest.PolicyOutside {
		ports[a] = end{a, remote}
	}
	for _, p := range s.Pods {
		for _, a := range p.Addresses {
			ports[a] = end{a, remote}
		}
	}
	var out []end
	held := map[netip.Addr]state.Attachment{}
	for _, a := range s.Attachments {
		for _, addr := range a.Addresses {
			if old, ok := held[addr]; !ok || a.Created > old.Created || a.Created == old.Created && a.ContainerID < old.ContainerID {
				held[addr] = a
			}
		}
	}
	for addr, a := range held {
		ports[addr] = end{addr, a.OFPort}
		out = append(out, ports[addr], ports[addr], ports[addr])
	}
	for _, e := range ports {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b end) int { return a.address.Compare(b.address) })
	return out
}

// passes tells whether policies let a packet through, and what ofproto/trace says of it.
func passes(t fataler, ctl appctl.Client, c verdict.Connection, from, to end, stage string) (bool, string) {
	t.Helper()
	packet := describe(c, from, to, stage)
	text, err := ctl.Call(context.Background(), "ofproto/trace", "br0", packet)
	if err != nil {
		t.Fatal(packet, err)
	}
	return strings.Contains(text, "\n15. "), text
}

// describe is the packet as ofproto/trace takes it, as it comes out of the tables before.
func describe(c verdict.Connection, from, to end, stage string) string {
	stage, old := strings.CutSuffix(stage, unmarked)
	proto := strings.ToLower(string(c.Protocol))
	number := map[state.Protocol]uint32{state.TCP: 6, state.UDP: 17, state.SCTP: 132, ping: 1}[c.Protocol]
	src, dst, tuple := "nw_src", "nw_dst", "ct_nw_src=%s,ct_nw_dst=%s"
	if c.Source.Is6() {
		src, dst, tuple = "ipv6_src", "ipv6_dst", "ct_ipv6_src=%s,ct_ipv6_dst=%s"
		proto += "6"
	}
	a, b, sport, dport := from, to, uint16(40000), c.Port
	if stage == "reply" {
		a, b, sport, dport = to, from, c.Port, 40000
	}
	transport := fmt.Sprintf("%[1]s_src=%[2]d,%[1]s_dst=%[3]d", strings.ToLower(string(c.Protocol)), sport, dport)
	opener := 40000
	if c.Protocol == ping {
		request, answer, field := 8, 0, "icmp_type"
		if c.Source.Is6() {
			number, request, answer, field = 58, 128, 129, "icmpv6_type"
		}
		kind := request
		if stage == "reply" {
			kind = answer
		}
		transport, opener = fmt.Sprintf("%s=%d", field, kind), request
	}
	ct := map[string]uint64{"new": 0x21, "known": 0x22, "reply": 0x2a}[stage]
	text := fmt.Sprintf("ct_state=0x%x,ct_zone=100,%s,in_port=%d,%s=%s,%s=%s,%s,reg1=%d", ct, proto, a.ofport, src, a.address, dst, b.address, transport, b.ofport)
	if stage == "new" {
		return text
	}
	bits := flows.ConnectionKnown
	if stage == "reply" {
		bits |= flows.ConnectionReply
	}
	mark, label := flows.CTMarkValid|uint64(number)<<16|uint64(c.Port), hex(c.Destination)
	if old || c.Protocol == ping {
		mark, label = 0, "0"
	}
	return text + fmt.Sprintf(",reg5=%d,ct_mark=0x%x,ct_label=%s,ct_nw_proto=%d,ct_tp_src=%d,ct_tp_dst=%d,"+tuple,
		bits, mark, label, number, opener, c.Port, c.Source, c.Destination)
}

func hex(a netip.Addr) string { return fmt.Sprintf("0x%x", a.AsSlice()) }

// bridge is a switch's, br0, with the two ways to speak to it.
func bridge(t *testing.T) (*openflow.Conn, appctl.Client) {
	t.Helper()
	ovs := ovstest.Start(t)
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+ovstest.Datapath(), "fail_mode=secure")
	conn, err := openflow.Dial(t.Context(), ovs.MgmtSocket("br0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, appctl.Client{RunDir: ovs.Dir()}
}
