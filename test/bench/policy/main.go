// Command policy measures what NetworkPolicies cost on a node: how long after an event at the API server the
// last forbidden packet comes through, what an event changes, what the flows and the memory are, and what
// an ADD takes, by rules and pods in the cluster and by cached flows that are in use. It prints a table
// and writes the figures as JSON.
//
//	go run ./test/bench/policy -out out/bench-policy.json
//
// The node is one of a lab (package test/lab), with a real Open vSwitch and a real agent, which watches an
// API server of this process's (package test/apiserver). Pods elsewhere are objects only. Meanwhile pods
// come, go and are relabelled. Begin reading at bench.run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

type options struct {
	out, binDir         string
	rules, pods, cached []int
	events, adds, churn int
	profile             string
}

func main() {
	var o options
	rules := flag.String("rules", "100,10000", "rules in the cluster, ten in a policy")
	pods := flag.String("pods", "1000,10000", "pods in the cluster, in 50 namespaces")
	cached := flag.String("cached", "100,1000", "cached flows that are in use, at least")
	full := flag.Bool("full", false, "the whole grid: 100, 1,000 and 10,000 rules, 1,000 and 10,000 pods, 100, 1,000 and 10,000 cached flows; 100 events (an hour)")
	flag.StringVar(&o.out, "out", "out/bench-policy.json", "file to write the figures to")
	flag.StringVar(&o.binDir, "bin-dir", "bin", "directory with sluice-agent, sluice-cni and sluice-lab")
	flag.IntVar(&o.events, "events", 15, "how many events are timed in each case; below 100 a p99 is the slowest")
	flag.IntVar(&o.adds, "adds", 15, "how many ADDs are timed in each case")
	flag.IntVar(&o.churn, "churn", 5, "how many pods elsewhere change each second")
	flag.StringVar(&o.profile, "profile", "", "file for a CPU profile of the agent during the last case's events")
	flag.Parse()
	if *full {
		*rules, *pods, *cached, o.events = "100,1000,10000", "1000,10000", "100,1000,10000", 100
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := o.read(*rules, *pods, *cached)
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (o *options) read(rules, pods, cached string) error {
	for _, list := range []struct {
		text string
		into *[]int
	}{{rules, &o.rules}, {pods, &o.pods}, {cached, &o.cached}} {
		for _, part := range strings.Split(list.text, ",") {
			n, err := strconv.Atoi(part)
			if err != nil || n < 1 || n > 20000 {
				return fmt.Errorf("%q: expected numbers from 1 to 20000", list.text)
			}
			*list.into = append(*list.into, n)
		}
	}
	if o.events < 1 || o.adds < 1 || flag.NArg() > 0 {
		return fmt.Errorf("-events and -adds must be at least 1, and there are no arguments")
	}
	return nil
}
