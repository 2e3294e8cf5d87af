package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/test/lab"
)

func (c *command) apply() *cobra.Command {
	var files []string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "apply -f FILE|DIR",
		Short: "Add objects or change them, and wait until that is in force",
		Long: `apply adds objects or changes those that are there, and returns when every agent
has the change in force. A new Node is a new machine; a new Pod is plugged in.
Agents that were killed by "sluice-lab kill" are not waited for.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return errors.New("say with -f what to apply")
			}
			opened, err := c.open()
			if err != nil {
				return err
			}
			opened.Timeout = cmp.Or(timeout, opened.Timeout)
			objects, err := lab.ReadObjects(files, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return opened.Apply(cmd.Context(), objects)
		},
	}
	fileFlag(cmd, &files)
	timeoutFlag(cmd, &timeout)
	return cmd
}

func (c *command) delete() *cobra.Command {
	var files []string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "delete -f FILE|DIR | KIND/[NAMESPACE/]NAME...",
		Short: "Delete objects, and wait until that is in force",
		Long: `delete removes objects, named by their YAML or as kind/namespace/name, and returns
when every agent has the change in force. A Pod is unplugged; a Node is stopped,
with the pods on it; a Namespace goes with all that is in it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(files)+len(args) == 0 {
				return errors.New("say what to delete: -f FILE, or kind/namespace/name")
			}
			opened, err := c.open()
			if err != nil {
				return err
			}
			opened.Timeout = cmp.Or(timeout, opened.Timeout)
			objects, err := lab.ReadObjects(files, cmd.InOrStdin())
			if err != nil {
				return err
			}
			var keys []lab.Key
			for _, object := range objects {
				keys = append(keys, object.Key())
			}
			for _, arg := range args {
				key, err := opened.Find(arg)
				if err != nil {
					return err
				}
				keys = append(keys, key)
			}
			return opened.Delete(cmd.Context(), keys)
		},
	}
	fileFlag(cmd, &files)
	timeoutFlag(cmd, &timeout)
	return cmd
}

func timeoutFlag(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVar(timeout, "timeout", 0, fmt.Sprintf("how long to wait for agents (default %v, longer on a busy machine)", lab.DefaultTimeout))
}
