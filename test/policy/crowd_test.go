package policy_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// TestAsManyPoliciesAsThereMayBe select both ends on one node, each with a peer of its own but
// the last, which allows: a packet gets through all of them, the dump is whole, and one policy
// more isolates.
func TestAsManyPoliciesAsThereMayBe(t *testing.T) {
	conn, ctl := bridge(t)
	s := state.State{Node: "n1"}
	var ends []end
	for i, name := range []string{"a", "b"} {
		e := end{netip.AddrFrom4([4]byte{10, 244, 1, byte(i + 2)}), uint32(258 + i)}
		ends = append(ends, e)
		s.Pods = append(s.Pods, state.Pod{Namespace: "x", Name: name, Addresses: []netip.Addr{e.address}})
		s.Attachments = append(s.Attachments, state.Attachment{ContainerID: name, PodNamespace: "x", PodName: name, OFPort: e.ofport, Addresses: []netip.Addr{e.address}})
	}
	for i := range policy.MaxPolicies {
		block := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 32)
		if i == policy.MaxPolicies-1 {
			block = netip.MustParsePrefix("10.244.1.0/24")
		}
		rule := []state.PolicyRule{{Peers: []state.PolicyPeer{{Block: &state.IPBlock{CIDR: block}}}, Ports: []state.PolicyPort{{Number: 80}}}}
		s.NetworkPolicies = append(s.NetworkPolicies, state.NetworkPolicy{
			Namespace: "x", Name: fmt.Sprintf("p%05d", i), Types: []state.Direction{state.Ingress, state.Egress}, Ingress: rule, Egress: rule,
		})
	}
	gets := func(port uint16) bool {
		t.Helper()
		through, _ := passes(t, ctl, verdict.Connection{Source: ends[0].address, Destination: ends[1].address, Protocol: state.TCP, Port: port}, ends[0], ends[1], "new")
		return through
	}
	put(t, conn, policy.Compile(s).Flows())
	if !gets(80) || gets(81) {
		t.Errorf("port 80 passes: %v, port 81: %v", gets(80), gets(81))
	}
	s.NetworkPolicies = append(s.NetworkPolicies, state.NetworkPolicy{Namespace: "x", Name: "q", Types: []state.Direction{state.Egress}, Egress: []state.PolicyRule{{}}})
	r := policy.Compile(s)
	put(t, conn, r.Flows())
	if len(r.Crowds) != 2 || gets(80) {
		t.Errorf("with one more: %d crowds, port 80 passes: %v", len(r.Crowds), gets(80))
	}
}

// fataler is a test or a rapid one.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// put puts flows in the stead of those that are there, between an entry and an end of the
// test's own. What is dumped must be what was put in.
func put(t fataler, conn *openflow.Conn, compiled []flows.Flow) {
	t.Helper()
	old, err := conn.Dump(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	add := append(slices.Clone(compiled),
		flows.Flow{Table: flows.Classify, Actions: []flows.Action{flows.Goto{Table: flows.EgressAdmin}}},
		flows.Flow{Table: flows.EgressNAT})
	if err := conn.Apply(context.Background(), openflow.Change{Remove: old, Add: add}); err != nil {
		t.Fatal(err)
	}
	now, err := conn.Dump(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(now) != len(add) {
		t.Fatalf("%d flows put in, %d are there", len(add), len(now))
	}
}
