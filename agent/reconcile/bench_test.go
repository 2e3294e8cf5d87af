package reconcile_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
// that change first (medians, as p50-ms); and how much memory the flows take, in the heap
// once all is collected and in the process at its greatest.
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
	kept := live() - before
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			apply(b, result.Set, reconcile.LookAtAll)
		}
		b.ReportMetric(float64(result.Len()), "flows")
		b.ReportMetric(float64(kept)/mebibyte, "heap-MiB")
		b.ReportMetric(float64(kept)/float64(result.Len()), "B/flow")
		b.ReportMetric(greatest(b)/mebibyte, "process-MiB")
	})

	b.Run("look", func(b *testing.B) {
		var times samples
		for b.Loop() {
			times.take(func() { apply(b, result.Set, reconcile.LookAtAll) })
		}
		times.report(b)
	})
	b.Run("look at a part", func(b *testing.B) {
		var times samples
		for b.Loop() {
			times.take(func() { apply(b, result.Set, reconcile.LookAtPart) })
		}
		times.report(b)
	})
	change := func(i int) {
		s.Nodes = append([]state.Node(nil), s.Nodes...)
		s.Nodes[7].Addresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)})}
	}
	b.Run("one owner", func(b *testing.B) {
		var times samples
		i := 0
		for b.Loop() {
			b.StopTimer()
			i++
			change(i)
			result = renderer.Render(s)
			b.StartTimer()
			times.take(func() { apply(b, result.Set, reconcile.Trust) })
		}
		times.report(b)
	})
	b.Run("one owner, with its render", func(b *testing.B) {
		var times samples
		i := 0
		for b.Loop() {
			i++
			times.take(func() {
				change(i)
				result = renderer.Render(s)
				apply(b, result.Set, reconcile.Trust)
			})
		}
		times.report(b)
	})
}

const mebibyte = 1 << 20

// samples are how long each of several runs took.
type samples []time.Duration

func (s *samples) take(f func()) {
	began := time.Now()
	f()
	*s = append(*s, time.Since(began))
}

// report tells the median.
func (s samples) report(b *testing.B) {
	slices.Sort(s)
	b.ReportMetric(float64(s[len(s)/2])/float64(time.Millisecond), "p50-ms")
}

// greatest is the most memory that the process ever had, in bytes.
func greatest(b *testing.B) float64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Maxrss) * 1024
}

// live is what is in use after a collection.
func live() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
