package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/test/lab"
)

func (c *command) exec() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec ENDPOINT -- COMMAND [ARG...]",
		Short: "Run a command in a pod, on a node or outside",
		Long: `exec runs a command in the network namespace of a pod, of a node (node/n1) or of
the machine outside. On a node OVS_RUNDIR is set, so that ovs-vsctl, ovs-ofctl and
ovs-appctl speak to the node's switch. The command's exit status is passed on.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if args[1] == "--" {
				args = slices.Delete(args, 1, 2)
			}
			if len(args) < 2 {
				return errors.New("say behind -- what to run")
			}
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
	// What stands behind the endpoint is the command's, flags too.
	cmd.Flags().SetInterspersed(false)
	return cmd
}
