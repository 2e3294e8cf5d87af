package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/test/bench/figures"
)

// figure is a figure with what only the table needs.
type figure struct {
	figures.Figure
	title      string
	percentile int
}

// newFigure compares a percentile of two lists of samples.
func newFigure(name, title string, p int, ours []time.Duration, peer string, theirs []time.Duration) figure {
	return figure{
		Figure: figures.New(fmt.Sprintf("%s.p%d", name, p), "ms", ms(figures.Percentile(ours, p)), peer, ms(figures.Percentile(theirs, p))),
		title:  title, percentile: p,
	}
}

// add makes figures of samples: each percentile, beside each peer.
func (b *bench) add(name, title string, s samples, percentiles ...int) {
	for _, p := range percentiles {
		for i, peer := range b.contenders[1:] {
			b.figures = append(b.figures, newFigure(name, title, p, s[0], peer.name, s[i+1]))
		}
	}
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// table prints the figures for people: a line for each, a column for each contender.
func (b *bench) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "milliseconds\t\tsluice\t")
	for _, p := range b.contenders[1:] {
		fmt.Fprintf(w, "%s\t", p.name)
	}
	fmt.Fprint(w, "to the faster\t\n")
	title := ""
	for rest := b.figures; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Name == rest[0].Name {
			n++
		}
		line := rest[:n]
		rest = rest[n:]
		if line[0].title == title {
			fmt.Fprint(w, "\t")
		} else {
			title = line[0].title
			fmt.Fprintf(w, "%s\t", title)
		}
		fmt.Fprintf(w, "p%d\t%.2f\t", line[0].percentile, line[0].Value)
		for i := range len(b.contenders) - 1 {
			if i < len(line) {
				fmt.Fprintf(w, "%.2f", line[i].PeerValue)
			}
			fmt.Fprint(w, "\t")
		}
		fmt.Fprintf(w, "%.2f\t\n", slices.MaxFunc(line, func(a, b figure) int { return cmp.Compare(a.Ratio, b.Ratio) }).Ratio)
	}
	return w.Flush()
}

// machine says in a line what was measured on.
func (b *bench) machine() string {
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("%d CPUs, Linux %s, %s datapath; %d rounds, %d bursts", runtime.NumCPU(), kernel, b.sluice.datapath, b.rounds, b.bursts)
}

// write writes the figures.
func (b *bench) write() error {
	var list []figures.Figure
	for _, f := range b.figures {
		list = append(list, f.Figure)
	}
	return figures.Write(b.out, list)
}
