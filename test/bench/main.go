// Command bench measures Sluice beside other CNI plugins, all in one run on this
// machine, prints a table and writes the figures as JSON.
//
//	go run ./test/bench -out out/bench.json
//
// What is measured is what a container runtime waits for: a whole CNI ADD or DEL
// through libcni, the start of the plugin's process included. Sluice runs on a lab of
// one node (package test/lab); each peer in a network namespace of its own, which
// plays its host. The contenders take turns, so that a busy machine is busy for all of
// them. A figure is never good or bad by itself: the command fails only when it
// cannot measure.
//
// Whatever happens, a second Ctrl-C and SIGKILL excepted, nothing is left behind;
// what these leave the next run removes. Start reading at bench.run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// options are the command's flags.
type options struct {
	out, binDir, profile, plugins   string
	rounds, warmUps, bursts, atOnce int
	pods                            int
	phases                          bool
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", "out/bench.json", "file to write the figures to")
	flag.StringVar(&o.binDir, "bin-dir", "bin", "directory with sluice-agent, sluice-cni and sluice-lab")
	flag.StringVar(&o.plugins, "plugins", "", "directory with the peers' plugins bridge, ptp and host-local (default: built for this run)")
	flag.IntVar(&o.rounds, "rounds", 100, "how many ADDs and DELs of each contender, one at a time; below 100 a p99 is the slowest")
	flag.IntVar(&o.warmUps, "warm-ups", 10, "how many rounds go before that and do not count")
	flag.IntVar(&o.atOnce, "at-once", 50, "how many ADDs, then DELs, go off at the same moment (at most 200)")
	flag.IntVar(&o.bursts, "bursts", 4, "how often they do")
	flag.IntVar(&o.pods, "pods", 200, "with how many pods on the node ADD and DEL are measured once more (at most 200; 0: not)")
	flag.BoolVar(&o.phases, "phases", false, "print too where the agent's time goes")
	flag.StringVar(&o.profile, "profile", "", "file for a CPU profile of the agent, taken when all else has been measured")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the measurement and cleans up; the second ends it all.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run checks the flags, sets the contenders up, measures, and takes all down again.
func run(ctx context.Context, o options) error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.rounds < 1, o.warmUps < 0, o.bursts < 1, o.atOnce < 1, o.atOnce > 200, o.pods < 0, o.pods > 200:
		return fmt.Errorf("-rounds, -bursts and -at-once must be at least 1, -warm-ups and -pods at least 0, -at-once and -pods at most 200")
	case os.Geteuid() != 0:
		return fmt.Errorf("must be root: what is measured makes network devices")
	}
	b := &bench{options: o}
	err := b.run(ctx)
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted, nothing is written to %s: %w", o.out, err)
	}
	return err
}
