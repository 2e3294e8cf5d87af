// Command bench measures how fast Sluice forwards, on the kernel's datapath, beside
// what the kernel can do without it, and prints ratios. `make bench-kernel` runs it in
// a virtual machine (../bench.sh):
//
//	bench -bin-dir bin -out out/bench-kernel.json
//
// Between two pods of a lab flow a TCP stream and then one of small datagrams; on one
// node beside a Linux bridge and beside a bridge of Open vSwitch with one static flow
// each way, across nodes beside Linux' vxlan. The contenders take turns, in each round
// another one first. Before a stream is counted its connection is established and has
// run for a while: the flow cache is warm.
//
// A figure is never good or bad by itself: the command fails only when it cannot
// measure. Start reading at bench.run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	out, binDir    string
	rounds         int
	warm, duration time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", "out/bench-kernel.json", "file to write the figures to")
	flag.StringVar(&o.binDir, "bin-dir", "bin", "directory with sluice-agent, sluice-cni and sluice-lab")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each stream of each contender is measured")
	flag.DurationVar(&o.warm, "warm", 500*time.Millisecond, "how long a stream runs before it is counted")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "how long it is counted")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the measurement and cleans up; the second ends it all.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.rounds < 1, o.duration <= 0, o.warm < 0:
		return fmt.Errorf("-rounds must be at least 1, -duration positive and -warm not negative")
	case os.Geteuid() != 0:
		return fmt.Errorf("must be root: what is measured makes network devices")
	}
	return (&bench{options: o}).run(ctx)
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
