package plug_test

import (
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/cni/plug"
)

func BenchmarkPlug(b *testing.B) {
	pod := onHost(b)
	s := spec(pod)
	var create, configure, remove time.Duration
	for b.Loop() {
		began := time.Now()
		cable, err := plug.Create(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		created := time.Now()
		if err := cable.Configure(b.Context()); err != nil {
			b.Fatal(err)
		}
		configured := time.Now()
		if err := cable.Rollback(); err != nil {
			b.Fatal(err)
		}
		create, configure, remove = create+created.Sub(began), configure+configured.Sub(created), remove+time.Since(configured)
	}
	for unit, took := range map[string]time.Duration{"create-µs": create, "configure-µs": configure, "remove-µs": remove} {
		b.ReportMetric(float64(took.Microseconds())/float64(b.N), unit)
	}
}

// BenchmarkMove is why cables are not made in advance: to move an end that is ready into a
// container takes the kernel far longer than to make it there.
func BenchmarkMove(b *testing.B) {
	pod := onHost(b)
	var move time.Duration
	for b.Loop() {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ready"}, PeerName: "inner"}
		if err := netlink.LinkAdd(veth); err != nil {
			b.Fatal(err)
		}
		inner, err := netlink.LinkByName("inner")
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if err := netlink.LinkSetNsFd(inner, int(pod.Fd())); err != nil {
			b.Fatal(err)
		}
		move += time.Since(began)
		if err := netlink.LinkDel(veth); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(move.Microseconds())/float64(b.N), "move-µs")
}
