package openflow_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

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

var sizes = []int{1, 10, 1_000, 10_000, 100_000}

func name(n int) string { return fmt.Sprintf("%d_flows", n) }

// BenchmarkBundle replaces n flows by themselves in one atomic bundle: over a
// connection, and with `ovs-ofctl --bundle add-flows`.
//
//	go test -run - -bench . -benchmem ./ovs/openflow
func BenchmarkBundle(b *testing.B) {
	ovs, socket := bridge(b)
	c := dial(b, socket)
	for _, n := range sizes {
		change := openflow.Change{Add: routes(n)}
		var took time.Duration
		b.Run("conn/"+name(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				apply(b, c, change)
			}
			took = b.Elapsed() / time.Duration(b.N)
		})
		file := filepath.Join(b.TempDir(), "flows")
		if err := os.WriteFile(file, []byte(strings.Join(lines(change.Add), "\n")+"\n"), 0o600); err != nil {
			b.Fatal(err)
		}
		b.Run("ovs-ofctl/"+name(n), func(b *testing.B) {
			for b.Loop() {
				ovs.Ofctl("--bundle", "add-flows", socket, file)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(took), "×conn")
		})
	}
}

// BenchmarkDump reads n flows: over a connection, which decodes them, and with
// `ovs-ofctl dump-flows`, whose text nobody has parsed yet.
func BenchmarkDump(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		ovs, socket := bridge(b)
		c := dial(b, socket)
		apply(b, c, openflow.Change{Add: routes(n)})
		var took time.Duration
		b.Run("conn/"+name(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := len(dump(b, c)); got != n {
					b.Fatalf("%d flows", got)
				}
			}
			took = b.Elapsed() / time.Duration(b.N)
			b.ReportMetric(float64(liveBytes(func() any { return dump(b, c) }))/float64(n), "live-B/flow")
			b.ReportMetric(float64(liveBytes(func() any { return routes(n) }))/float64(n), "made-B/flow")
		})
		b.Run("ovs-ofctl/"+name(n), func(b *testing.B) {
			for b.Loop() {
				ovs.Ofctl("--no-names", "dump-flows", socket)
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(took), "×conn")
		})
	}
}

// liveBytes is how much memory what make returns keeps.
func liveBytes(make func() any) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := make()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return after.HeapAlloc - before.HeapAlloc
}
