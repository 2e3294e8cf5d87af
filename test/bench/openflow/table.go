package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
)

// table prints the figures for people: a line for each, beside one other.
func (b *bench) table(out io.Writer) error {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d CPUs, userspace datapath; load average after: %s", runtime.NumCPU(), load)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\tunit\tsluice\tthe other\tratio\t\n")
	for _, f := range b.figures {
		fmt.Fprintf(w, "%s, beside %s\t%s\t%.2f\t%.2f\t%.3f\t\n", strings.TrimPrefix(f.Name, "openflow."), f.Peer, f.Unit, f.Value, f.PeerValue, f.Ratio)
	}
	return w.Flush()
}
