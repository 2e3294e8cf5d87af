package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
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

// bundles measures how long it takes to put flows in, in place of themselves, as one
// atomic bundle.
func (b *bench) bundles(ctx context.Context) error {
	for _, size := range []struct{ flows, rounds int }{{1, 50}, {10, 50}, {1000, 20}, {10_000, 9}, {100_000, 3}} {
		fmt.Fprintf(os.Stderr, "bench: bundles of %d flows\n", size.flows)
		change := openflow.Change{Add: routes(size.flows)}
		file := filepath.Join(b.dir, "flows")
		if err := os.WriteFile(file, []byte(text(change.Add)), 0o600); err != nil {
			return err
		}
		took, err := inTurns(
			size.rounds,
			func() (time.Duration, error) { return timed(func() error { return b.conn.Apply(ctx, change) }) },
			func() (time.Duration, error) {
				return timed(func() error { return b.ofctl(ctx, "--bundle", "add-flows", bridge, file) })
			},
			func() (time.Duration, error) {
				ns, _, err := b.peer.do(fmt.Sprintf("add %d", size.flows))
				return time.Duration(ns), err
			},
		)
		if err != nil {
			return err
		}
		b.beside(fmt.Sprintf("openflow.bundle.%d", size.flows), took)
	}
	return nil
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

// switchAlone asks for all flows and reads the answer without looking into it: what of
// a dump is the switch's own time and the socket's.
func (b *bench) switchAlone(ctx context.Context) error {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "unix", b.ovs.MgmtSocket(bridge))
	if err != nil {
		return err
	}
	defer nc.Close()
	hello := []byte{6, 0, 0, 16, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 1 << 6}
	request := slices.Concat(
		[]byte{6, 18, 0, 56, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0}, // multipart request, type 1: flow descriptions
		[]byte{0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		make([]byte, 16), []byte{0, 1, 0, 4, 0, 0, 0, 0}, // any cookie, any match
	)
	if _, err := nc.Write(append(hello, request...)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(nc, 1<<16)
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(r, head); err != nil {
			return err
		}
		body := make([]byte, int(binary.BigEndian.Uint16(head[2:]))-len(head))
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		switch {
		case head[1] == 1:
			return fmt.Errorf("the switch refuses the dump: % x", body)
		case head[1] == 19 && body[3]&1 == 0: // no more
			return nil
		}
	}
}
