package openflow_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
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

// ready is a bridge that has what generated flows name.
func ready(t *testing.T) (ovs *ovstest.OVS, c *openflow.Conn) {
	t.Helper()
	ovs, socket := bridge(t)
	ovs.Ofctl("add-group", "br0", fmt.Sprintf("group_id=%d,type=select,bucket=output:1", group))
	ovs.Ofctl("add-meter", "br0", fmt.Sprintf("meter=%d,pktps,bands=type=drop,rate=1", meter))
	for i := range mappedOptions {
		ovs.Ofctl("add-tlv-map", "br0", fmt.Sprintf("{class=0xffff,type=%d,len=%d}->tun_metadata%d", i, 4<<i, i))
	}
	return ovs, dial(t, socket)
}

// TestGeneratedFlowsComeBackAsTheyWent goes through every field and action of the
// vocabulary, and holds ovs-ofctl's words for what the switch has against ours.
func TestGeneratedFlowsComeBackAsTheyWent(t *testing.T) {
	noLeak(t)
	ovs, c := ready(t)
	rapid.Check(t, func(r *rapid.T) {
		want := genFlows(r)
		apply(r, c, openflow.Change{Remove: dump(r, c)})
		apply(r, c, openflow.Change{Add: want})
		equal(r, "our dump", dumped(r, c), want)
		equal(r, "ovs-ofctl's dump", spoken(r, ovs), want)
		if diff := cmp.Diff(sorted(lines(dumped(r, c))), sorted(ovsWords(ovs))); diff != "" {
			r.Fatalf("ovs-ofctl says it otherwise (-ours +its):\n%s", diff)
		}
		apply(r, c, openflow.Change{Remove: remove(want...)})
		equal(r, "after removal", dumped(r, c), nil)
	})
}

// counted is what dump-flows prints of a flow that is not part of it.
var counted = regexp.MustCompile(`(cookie=0x0|duration=[0-9.]+s|n_packets=\d+|n_bytes=\d+|(idle|hard)_age=\d+), `)

// ovsWords are the lines of ovs-ofctl dump-flows without counters.
func ovsWords(ovs *ovstest.OVS) (out []string) {
	for line := range strings.Lines(ovs.Ofctl("--no-names", "dump-flows", "br0")) {
		if strings.Contains(line, "actions=") {
			out = append(out, counted.ReplaceAllString(strings.TrimSpace(line), ""))
		}
	}
	return out
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
