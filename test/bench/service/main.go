// Command service measures what Services cost on a node: new connections a second to a ClusterIP beside
// direct ones between the same pods, in turns; how long an agent takes to put Services into an empty switch;
// how long after an event at the API server a client is given the new backend; and memory. It prints tables
// and writes the figures as JSON.
//
//	go run ./test/bench/service -out out/bench-service.json
//
// Connections are made in a lab of two nodes. For the rest the node is one whose agent watches an API
// server of this process's (package watched). Begin reading at run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/sluice-cni/sluice/test/bench/figures"
)

type options struct {
	out, binDir    string
	profile        string
	services       []int
	rounds, events int
	lasting        time.Duration
}

// result is all that was measured.
type result struct {
	Rates    []rate       `json:"connections"`
	Programs []programmed `json:"programmed"`
}

func main() {
	var o options
	services := flag.String("services", "1,100,1000,5000", "numbers of Services, of ten backends each")
	flag.StringVar(&o.out, "out", "out/bench-service.json", "file to write the figures to")
	flag.StringVar(&o.binDir, "bin-dir", "bin", "directory with sluice-agent, sluice-cni and sluice-lab")
	flag.IntVar(&o.rounds, "rounds", 10, "how often connections are made in each way, in turns")
	flag.DurationVar(&o.lasting, "lasting", time.Second, "for how long each time")
	flag.IntVar(&o.events, "events", 100, "how many events are timed for each number of Services")
	flag.StringVar(&o.profile, "profile", "", "file for a CPU profile of the agent during the events with the most Services")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := o.read(*services)
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (o *options) read(services string) error {
	for _, part := range strings.Split(services, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > mostServices {
			return fmt.Errorf("%q: expected numbers from 1 to %d", services, mostServices)
		}
		o.services = append(o.services, n)
	}
	if o.rounds < 1 || o.events < 1 || flag.NArg() > 0 {
		return errors.New("-rounds and -events must be at least 1, and there are no arguments")
	}
	return nil
}

func run(ctx context.Context, o options) error {
	if os.Geteuid() != 0 {
		return errors.New("must be root: what is measured makes network devices")
	}
	var r result
	var err error
	if r.Rates, err = measureRates(ctx, o); err != nil {
		return err
	}
	if r.Programs, err = measurePrograms(ctx, o); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "connections a second\tdirect\tby a Service\tratio\tlowest and highest of a round\t")
	for _, p := range r.Rates {
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.2f\t%.2f-%.2f\t\n", p.Where, p.Direct, p.Service, p.Ratio, p.Lowest, p.Highest)
	}
	fmt.Fprintln(w, "\nServices of 10\tagent's start to in force ms\tevent to effect p50 ms\tp99\tagent MB\tvswitchd MB\t")
	for _, p := range r.Programs {
		fmt.Fprintf(w, "%d\t%.0f\t%.1f\t%.1f\t%.0f\t%.0f\t\n", p.Services, p.Cold, p.EffectP50, p.EffectP99, p.AgentMB, p.VswitchdMB)
	}
	return errors.Join(w.Flush(), figures.WriteJSON(o.out, r))
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
