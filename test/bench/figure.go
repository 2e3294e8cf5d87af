package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// figure is what was measured of Sluice, beside one peer. The JSON form is what other
// tools read.
type figure struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
	// Peer is what PeerValue was measured of, in the same run.
	Peer      string  `json:"peer"`
	PeerValue float64 `json:"peerValue"`
	// Ratio is Value to PeerValue: below 1 Sluice takes less.
	Ratio float64 `json:"ratio"`

	// title and percentile are for people.
	title      string
	percentile int
}

// newFigure compares a percentile of two lists of samples.
func newFigure(name, title string, p int, ours []time.Duration, peer string, theirs []time.Duration) figure {
	f := figure{
		Name: fmt.Sprintf("%s.p%d", name, p), Unit: "ms", Value: ms(percentile(ours, p)),
		Peer: peer, PeerValue: ms(percentile(theirs, p)), title: title, percentile: p,
	}
	f.Ratio = round(f.Value/f.PeerValue, 3)
	return f
}

// add makes figures of samples: each percentile, beside each peer.
func (b *bench) add(name, title string, s samples, percentiles ...int) {
	for _, p := range percentiles {
		for i, peer := range b.contenders[1:] {
			b.figures = append(b.figures, newFigure(name, title, p, s[0], peer.name, s[i+1]))
		}
	}
}

// percentile is the smallest sample that at least p percent of all do not exceed.
func percentile(s []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func ms(d time.Duration) float64 { return round(d.Seconds()*1e3, 3) }

func round(f float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(f*scale) / scale
}

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
	text, err := json.MarshalIndent(b.figures, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(b.out), 0o755)
	}
	if err == nil {
		err = os.WriteFile(b.out, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}
