package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/test/bench/figures"
)

// routes are n flows of the pipeline's usual shape, in words that all contenders know.
func routes(n int) []flows.Flow {
	mac := net.HardwareAddr{0x0a, 0x58, 0, 0, 0, 1}
	out := make([]flows.Flow, n)
	for i := range out {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(i))
		out[i] = flows.Flow{
			Table: 8, Priority: 400, Cookie: flows.Cookie(i + 1),
			Match:   flows.Match{}.InPort(uint32(i%1000 + 1)).EthSrc(mac).Dst(netip.PrefixFrom(netip.AddrFrom4(b), 32)),
			Actions: []flows.Action{flows.Set(flows.Reg1, flows.Uint(uint64(i))), flows.Resubmit{Table: 17}},
		}
	}
	return out
}

// timed tells how long something takes.
func timed(do func() error) (time.Duration, error) {
	begun := time.Now()
	err := do()
	return time.Since(begun), err
}

// inTurns measures each of the contenders so many times, after once that does not
// count, and returns the medians.
func inTurns(rounds int, contenders ...func() (time.Duration, error)) ([]time.Duration, error) {
	took := make([][]time.Duration, len(contenders))
	for round := range rounds + 1 {
		for k := range contenders {
			i := (round + k) % len(contenders)
			d, err := contenders[i]()
			if err != nil {
				return nil, err
			}
			if round > 0 {
				took[i] = append(took[i], d)
			}
		}
	}
	medians := make([]time.Duration, len(contenders))
	for i, list := range took {
		slices.Sort(list)
		medians[i] = list[len(list)/2]
	}
	return medians, nil
}

// beside notes what Sluice took and what the others did.
func (b *bench) beside(name string, took []time.Duration) {
	for i, other := range []string{"ovs-ofctl", "go-openvswitch"} {
		b.figures = append(b.figures, figures.New(name, "ms", ms(took[0]), other, ms(took[i+1])))
	}
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// bundles measures how long it takes to put flows into a table that has none, as one
// atomic bundle. The switch alone is given the bytes of one of our bundles again.
func (b *bench) bundles(ctx context.Context) error {
	for _, size := range []struct{ flows, rounds int }{{1, 50}, {10, 50}, {1000, 20}, {10_000, 9}, {100_000, 3}} {
		fmt.Fprintf(os.Stderr, "bench: bundles of %d flows\n", size.flows)
		change := openflow.Change{Add: routes(size.flows)}
		file := filepath.Join(b.dir, "flows")
		if err := os.WriteFile(file, []byte(text(change.Add)), 0o600); err != nil {
			return err
		}
		sent, err := b.record(ctx, change)
		if err != nil {
			return fmt.Errorf("record a bundle of %d flows: %w", size.flows, err)
		}
		took, err := inTurns(
			size.rounds,
			b.fresh(ctx, func() (time.Duration, error) { return timed(func() error { return b.conn.Apply(ctx, change) }) }),
			b.fresh(ctx, func() (time.Duration, error) {
				return timed(func() error { return b.ofctl(ctx, "--bundle", "add-flows", bridge, file) })
			}),
			b.fresh(ctx, func() (time.Duration, error) {
				ns, _, err := b.peer.do(fmt.Sprintf("add %d", size.flows))
				return time.Duration(ns), err
			}),
			b.fresh(ctx, func() (time.Duration, error) { return b.replay(ctx, sent) }),
		)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("openflow.bundle.%d", size.flows)
		b.beside(name, took)
		b.figures = append(b.figures, figures.New(name, "ms", ms(took[0]), "the switch alone", ms(took[3])))
	}
	return b.conn.Apply(ctx, openflow.Change{Add: routes(100_000)})
}

// fresh empties the table before what is measured, and leaves the switch the time in
// which its threads free what was removed: half of a bundle of 10,000 flows is that else.
func (b *bench) fresh(ctx context.Context, measured func() (time.Duration, error)) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		there, err := b.conn.Dump(ctx)
		if err != nil {
			return 0, err
		}
		if err := b.conn.Apply(ctx, openflow.Change{Remove: there}); err != nil {
			return 0, err
		}
		time.Sleep(min(time.Duration(len(there))*50*time.Microsecond, time.Second))
		return measured()
	}
}

func text(list []flows.Flow) string {
	var b strings.Builder
	for _, f := range list {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

// dumps measures how long it takes to read the 100,000 flows that are there, and what
// memory they take.
func (b *bench) dumps(ctx context.Context) error {
	const many = 100_000
	fmt.Fprintf(os.Stderr, "bench: dumps of %d flows\n", many)
	count := func(n int, err error) error {
		if err == nil && n != many {
			return fmt.Errorf("%d flows were read, %d are there", n, many)
		}
		return err
	}
	took, err := inTurns(
		5,
		func() (time.Duration, error) {
			return timed(func() error {
				list, err := b.conn.Dump(ctx)
				return count(len(list), err)
			})
		},
		func() (time.Duration, error) {
			return timed(func() error { return b.ofctl(ctx, "--no-names", "dump-flows", bridge) })
		},
		func() (time.Duration, error) {
			ns, n, err := b.peer.do("dump")
			return time.Duration(ns), count(n, err)
		},
		func() (time.Duration, error) { return timed(func() error { return b.switchAlone(ctx) }) },
	)
	if err != nil {
		return err
	}
	b.beside("openflow.dump.100000", took)
	b.figures = append(b.figures, figures.New("openflow.dump.100000", "ms", ms(took[0]), "the switch alone", ms(took[3])))
	dumped, made := live(func() any { list, _ := b.conn.Dump(ctx); return list }), live(func() any { return routes(many) })
	b.figures = append(b.figures, figures.New("openflow.dump.100000.live", "B/flow", dumped/many, "the flows made", made/many))
	return nil
}

// live is how many bytes of memory what make returns keeps.
func live(make func() any) float64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := make()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return float64(after.HeapAlloc) - float64(before.HeapAlloc)
}
