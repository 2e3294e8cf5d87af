package openflow_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// twoNodes is a cluster with pods of both families here and another node.
func twoNodes() state.State {
	addrs := func(text ...string) (out []netip.Addr) {
		for _, s := range text {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	prefixes := func(text ...string) (out []netip.Prefix) {
		for _, s := range text {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	s := state.State{
		Node: "a",
		Nodes: []state.Node{
			{Name: "a", Addresses: addrs("192.0.2.1", "2001:db8::1"), PodCIDRs: prefixes("10.0.1.0/24", "fd00:1::/64"), Ready: true},
			{Name: "b", Addresses: addrs("192.0.2.2", "2001:db8::2"), PodCIDRs: prefixes("10.0.2.0/24", "fd00:2::/64"), Ready: true},
		},
		Pods: []state.Pod{
			{Namespace: "one", Name: "web", Node: "a", Addresses: addrs("10.0.1.5", "fd00:1::5")},
			{Namespace: "two", Name: "web", Node: "a", Addresses: addrs("10.0.1.6", "fd00:1::6")},
			{Namespace: "one", Name: "far", Node: "b", Addresses: addrs("10.0.2.5", "fd00:2::5")},
		},
		Facts:  state.Facts{TunnelAddress: netip.MustParseAddr("192.0.2.1"), UnderlayMTU: 1500, Datapath: "netdev"},
		Config: state.Config{ClusterCIDRs: prefixes("10.0.0.0/16", "fd00::/16")},
	}
	s.Attachments = render.Attachments(s)
	return s
}

func TestRenderedFlowsComeBackAsTheyWent(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	want := render.Tables(twoNodes())
	list := want.Flows()
	if len(want.Conflicts) > 0 || len(list) < 40 {
		t.Fatalf("rendered %d flows, conflicts %v", len(list), want.Conflicts)
	}
	apply(t, c, openflow.Change{Add: list})
	equal(t, "our dump", dumped(t, c), list)
	equal(t, "ovs-ofctl's dump", spoken(t, ovs), list)

	apply(t, c, openflow.Change{Remove: remove(list...)})
	equal(t, "after removal", dumped(t, c), nil)
}

// TestGeneratedFlowsComeBackAsTheyWent goes through every field and action of the
// vocabulary.
func TestGeneratedFlowsComeBackAsTheyWent(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	ovs.Ofctl("add-group", "br0", "group_id=1,type=select,bucket=output:1")
	rapid.Check(t, func(r *rapid.T) {
		want := genFlows(r)
		apply(r, c, openflow.Change{Remove: dump(r, c)})
		apply(r, c, openflow.Change{Add: want})
		equal(r, "our dump", dumped(r, c), want)
		apply(r, c, openflow.Change{Remove: remove(want...)})
		equal(r, "after removal", dumped(r, c), nil)
	})
}

func TestGeneratedFlowsReadLikeOvsOfctl(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	ovs.Ofctl("add-group", "br0", "group_id=1,type=select,bucket=output:1")
	rapid.Check(t, func(r *rapid.T) {
		want := slices.DeleteFunc(genFlows(r), otherWords)
		apply(r, c, openflow.Change{Remove: dump(r, c), Add: want})
		equal(r, "ovs-ofctl's dump", spoken(r, ovs), want)
	})
}

// otherWords tells whether a flow has an action that package flows writes
// otherwise than ovs-ofctl: set_field and move of a transport field, which name
// the protocol there (tcp_dst, NXM_OF_TCP_DST), and move of the 32-bit in_port,
// which is OXM_OF_IN_PORT there.
func otherWords(f flows.Flow) bool {
	transport := []flows.Field{flows.TPSrc, flows.TPDst, flows.ICMPType, flows.ICMPCode}
	return slices.ContainsFunc(f.Actions, func(a flows.Action) bool {
		switch a := a.(type) {
		case flows.SetField:
			return slices.Contains(transport, a.Field)
		case flows.Move:
			return a.From == flows.InPort || slices.Contains(transport, a.From) || slices.Contains(transport, a.To)
		}
		return false
	})
}
