// Command openflow measures package ovs/openflow beside what else can program an
// Open vSwitch, all in one run against the same switch on this machine, prints a table
// and writes the figures as JSON.
//
//	go run ./test/bench/openflow -out out/bench-openflow.json
//
// The others are ovs-ofctl (whose dump is text that nobody has parsed yet) and
// github.com/digitalocean/go-openvswitch, which runs ovs-ofctl and parses its text (peer/).
// They take turns. A figure is never good or bad by itself: the command fails only
// when it cannot measure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-cni/sluice/test/bench/figures"
)

func main() {
	out := flag.String("out", "out/bench-openflow.json", "file to write the figures to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string) (err error) {
	b := &bench{}
	defer func() { err = errors.Join(err, b.clear(context.WithoutCancel(ctx))) }()
	if err := b.start(ctx); err != nil {
		return err
	}
	if err := b.bundles(ctx); err != nil {
		return fmt.Errorf("measure bundles: %w", err)
	}
	if err := b.dumps(ctx); err != nil {
		return fmt.Errorf("measure dumps: %w", err)
	}
	if err := b.table(os.Stdout); err != nil {
		return err
	}
	return figures.Write(out, b.figures)
}
