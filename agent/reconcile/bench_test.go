package reconcile_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"testing"

	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// benchNodes make about 100,000 flows.
const benchNodes = 33300

// manyNodes is a cluster that nobody has, for its flows.
func manyNodes() state.State {
	s := state.State{Node: "n0"}
	for i := range benchNodes {
		n := state.Node{Name: fmt.Sprintf("n%d", i), Ready: true}
		n.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{172, byte(i >> 16), byte(i >> 8), byte(i)})}
		n.PodCIDRs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// BenchmarkHundredThousandFlows tells, with 100,000 flows in a real switch, what it
// takes to compare all of them with it, to apply the change of one owner, and to render
// that change first; and how much memory the flows take.
func BenchmarkHundredThousandFlows(b *testing.B) {
	ovs := ovstest.Start(b)
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+ovstest.Datapath(), "fail_mode=secure")
	r := reconcile.New(func(ctx context.Context) (openflow.Switch, error) {
		return openflow.Dial(ctx, ovs.MgmtSocket("br0"), nil)
	}, slog.New(slog.DiscardHandler))
	defer r.Close()
	apply := func(b *testing.B, set []*render.Owned, look reconcile.Look) {
		if err := r.Apply(context.Background(), set, look); err != nil {
			b.Fatal(err)
		}
	}
	s := manyNodes()
	before := live()
	var renderer render.Renderer
	result := renderer.Render(s)
	apply(b, result.Set, reconcile.Trust)
	b.Logf("%d flows, %d bytes of memory for each", result.Len(), (live()-before)/uint64(result.Len()))

	b.Run("look", func(b *testing.B) {
		for b.Loop() {
			apply(b, result.Set, reconcile.LookAtAll)
		}
	})
	change := func(i int) {
		s.Nodes = append([]state.Node(nil), s.Nodes...)
		s.Nodes[7].Addresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)})}
	}
	b.Run("one owner", func(b *testing.B) {
		i := 0
		for b.Loop() {
			b.StopTimer()
			i++
			change(i)
			result = renderer.Render(s)
			b.StartTimer()
			apply(b, result.Set, reconcile.Trust)
		}
	})
	b.Run("one owner, with its render", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			change(i)
			result = renderer.Render(s)
			apply(b, result.Set, reconcile.Trust)
		}
	})
}

// live is what is in use after a collection.
func live() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
