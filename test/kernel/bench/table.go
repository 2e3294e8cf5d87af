package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/sluice-cni/sluice/test/bench/figures"
)

// aim is which part of one static flow's rate is to be reached.
const aim = 0.95

// static is the peer that the aim speaks of.
const static = "one static flow"

// figures compares Sluice with each peer, by each kind of stream.
func (r race) figures() []figures.Figure {
	var list []figures.Figure
	for _, k := range kinds {
		for _, peer := range r.ways[1:] {
			list = append(list, figures.New(r.key+"."+k.key, k.unit, median(r.ways[0].rates[k]), peer.name, median(peer.rates[k])))
		}
	}
	return list
}

// writeTable prints medians and ratios for people, with the lowest and highest round,
// and what they say of the aim.
func writeTable(out io.Writer, races []race) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "medians (lowest to highest round)\t\tsluice\tpeer\t\tratio\n")
	var said []string
	for _, r := range races {
		list := r.figures()
		for _, k := range kinds {
			for _, peer := range r.ways[1:] {
				f := list[0]
				list = list[1:]
				fmt.Fprintf(w, "%s, %s\t%s\t%s\t%s\t%s\t%.2f\n", r.title, k.title, k.unit, spread(r.ways[0].rates[k]), peer.name, spread(peer.rates[k]), f.Ratio)
				if peer.name != static {
					continue
				}
				said = append(said, fmt.Sprintf("%s: %.2f, %s", k.title, f.Ratio, verdict(r.ways[0].rates[k], peer.rates[k])))
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "Aim: within 5%% of %s on one node (a ratio of %.2f or more), once the flow cache is warm. %s.\n"+
		"The aim counts as reached or missed only where all rounds say so: a busy machine moves single ones a lot.\n", static, aim, strings.Join(said, "; "))
	return err
}

// verdict says what the rounds, each by itself, tell of the aim.
func verdict(ours, theirs []float64) string {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	lowest, highest := slices.Min(ratios), slices.Max(ratios)
	switch {
	case lowest >= aim:
		return "reached"
	case highest < aim:
		return "missed"
	}
	return fmt.Sprintf("not decided (single rounds: %.2f to %.2f)", lowest, highest)
}

func spread(rates []float64) string {
	return fmt.Sprintf("%.0f (%.0f to %.0f)", median(rates), slices.Min(rates), slices.Max(rates))
}

// median is the middle one; of an even number, the mean of the middle two.
func median(rates []float64) float64 {
	sorted := slices.Sorted(slices.Values(rates))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
