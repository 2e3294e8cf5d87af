package openflow_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noLeak fails a test that leaves a goroutine behind. The test must not be parallel,
// but may have parallel parts.
func noLeak(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

var _ openflow.Switch = (*openflow.Conn)(nil)

// bridge starts an Open vSwitch with one bridge, br0, that holds nothing.
func bridge(t testing.TB) (ovs *ovstest.OVS, socket string) {
	t.Helper()
	ovs = ovstest.Start(t)
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+ovstest.Datapath(), "fail_mode=secure")
	return ovs, ovs.MgmtSocket("br0")
}

func dial(t testing.TB, socket string) *openflow.Conn {
	t.Helper()
	c, err := openflow.Dial(t.Context(), socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func apply(t reporter, s openflow.Switch, c openflow.Change) {
	t.Helper()
	if err := s.Apply(context.Background(), c); err != nil {
		t.Fatalf("%v", err)
	}
}

func dump(t reporter, s openflow.Switch) []openflow.Entry {
	t.Helper()
	list, err := s.Dump(context.Background())
	if err != nil {
		t.Fatalf("%v", err)
	}
	return list
}

// dumped is what a dump holds, sorted; a strange flow fails the test.
func dumped(t reporter, s openflow.Switch) []flows.Flow {
	t.Helper()
	var out []flows.Flow
	for _, e := range dump(t, s) {
		if e.Strange != "" {
			t.Fatalf("strange: %s", e.Strange)
		}
		out = append(out, e.Flow)
	}
	flows.Sort(out)
	return out
}

// spoken is what ovs-ofctl says that the bridge holds, sorted.
func spoken(t reporter, ovs *ovstest.OVS) []flows.Flow {
	t.Helper()
	var out []flows.Flow
	for line := range strings.Lines(ovs.Ofctl("--no-names", "dump-flows", "br0")) {
		if !strings.Contains(line, "actions=") {
			continue
		}
		f, _, err := flows.Parse(line)
		if err != nil {
			t.Fatalf("%v", err)
		}
		out = append(out, f)
	}
	flows.Sort(out)
	return out
}

// reporter is what *testing.T and *rapid.T have in common.
type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
}

// equal compares lists of flows in their stable order, typed and as text.
func equal(t reporter, what string, got, want []flows.Flow) {
	t.Helper()
	want = slices.Clone(want)
	flows.Sort(want)
	if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
	if !slices.EqualFunc(got, want, flows.Flow.Equal) {
		t.Fatalf("%s: the flows print alike and differ: %#v, want %#v", what, got, want)
	}
}

func lines(list []flows.Flow) []string {
	out := make([]string, len(list))
	for i, f := range list {
		out[i] = f.String()
	}
	return out
}

// drop is a flow that only has a key.
func drop(table flows.TableID, priority uint16, m flows.Match) flows.Flow {
	return flows.Flow{Table: table, Priority: priority, Match: m}
}

func remove(list ...flows.Flow) (out []openflow.Entry) {
	for _, f := range list {
		out = append(out, openflow.Entry{Flow: f})
	}
	return out
}

// routes are n flows of the pipeline's usual shape.
func routes(n int) []flows.Flow {
	mac := net.HardwareAddr{0x0a, 0x58, 0, 0, 0, 1}
	out := make([]flows.Flow, n)
	for i := range out {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(i))
		addr := netip.AddrFrom4(b)
		out[i] = flows.Flow{
			Table: 8, Priority: 400, Cookie: flows.Cookie(i + 1),
			Match: flows.Match{}.InPort(uint32(i%1000 + 1)).EthSrc(mac).Dst(netip.PrefixFrom(addr, 32)),
			Actions: []flows.Action{
				flows.SetBits(flows.Reg0, 1, 1), flows.Set(flows.Reg1, flows.Uint(uint64(i))), flows.Goto{Table: 17},
			},
		}
	}
	return out
}
