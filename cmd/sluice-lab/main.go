// Command sluice-lab runs a cluster of several nodes on one machine, without
// Kubernetes: nodes and pods are network namespaces, everything else is real. See
// package test/lab for what a lab is.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	// The first signal lets the command clean up after itself, the second ends it.
	context.AfterFunc(ctx, stop)
	err := newCommand().ExecuteContext(ctx)
	if err == nil {
		return
	}
	if failed := new(statusError); errors.As(err, &failed) {
		if failed.message != "" {
			fmt.Fprintln(os.Stderr, "sluice-lab: "+failed.message)
		}
		os.Exit(failed.status)
	}
	fmt.Fprintln(os.Stderr, "sluice-lab:", err)
	os.Exit(1)
}

// statusError ends the program with an exit status of its own.
type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return e.message }

// command is what all subcommands share.
type command struct {
	// name is the lab's.
	name string
}

// open finds the lab. Progress goes to stderr, so that stdout is the answer's.
func (c *command) open() (*lab.Lab, error) { return lab.Open(c.name, os.Stderr) }

func newCommand() *cobra.Command {
	c := &command{}
	root := &cobra.Command{
		Use:   "sluice-lab",
		Short: "A cluster of several nodes on one machine, without Kubernetes",
		Long: `sluice-lab runs a cluster of several nodes on one machine, without Kubernetes. A
node is a network namespace with its own Open vSwitch and sluice-agent; a pod is
a network namespace, plugged in by the real sluice-cni. Objects are ordinary
Kubernetes YAML. All of it needs root.

  sluice-lab up                                two nodes with two pods on each
  sluice-lab probe                             what reaches what
  sluice-lab exec default/a1 -- ping 10.244.2.2
  sluice-lab exec node/n1 -- ovs-ofctl -O OpenFlow15 dump-flows br-sluice
  sluice-lab down

Where a command takes an endpoint, that is [namespace/]pod, an IP address,
svc/namespace/name, node/name or outside, with :port[/protocol] where a port is
meant.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&c.name, "name", lab.DefaultName, "which lab, where several run on one machine")
	root.AddCommand(c.up(), c.down(), c.apply(), c.delete(), c.list(), c.exec(), c.probe(), c.kill(), c.start(), c.logs(), c.serve())
	return root
}

// oneOf checks the value of a flag.
func oneOf(flag, value string, allowed ...string) error {
	for _, one := range allowed {
		if value == one {
			return nil
		}
	}
	return fmt.Errorf("--%s %q is unknown: use one of %q", flag, value, allowed)
}
