package main

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/test/lab"
)

func (c *command) exec() *cobra.Command {
	return &cobra.Command{
		Use:   "exec ENDPOINT -- COMMAND [ARG...]",
		Short: "Run a command in a pod, on a node or outside",
		Long: `exec runs a command in the network namespace of a pod, of a node (node/n1) or of
the machine outside. On a node OVS_RUNDIR is set, so that ovs-vsctl, ovs-ofctl and
ovs-appctl speak to the node's switch. The command's exit status is passed on.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			end, err := lab.ParseEndpoint(args[0])
			if err != nil {
				return err
			}
			opened, err := c.open()
			if err != nil {
				return err
			}
			spot, err := opened.Spot(end)
			if err != nil {
				return err
			}
			path, err := exec.LookPath(args[1])
			if err != nil {
				return &statusError{127, err.Error()}
			}
			// The thread that calls execve is in the namespace, and becomes the
			// process: signals, terminal and exit status are the command's.
			return spot.Do(func() error {
				err := unix.Exec(path, args[1:], append(os.Environ(), spot.Env...))
				return &statusError{126, fmt.Sprintf("run %s: %v", path, err)}
			})
		},
	}
}
