package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/test/lab"
)

func (c *command) kill() *cobra.Command {
	return &cobra.Command{
		Use:   "kill NODE agent|vswitchd|ovsdb",
		Short: "Kill a daemon of a node, as a crash would",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			daemon, err := lab.ParseDaemon(args[1])
			if err != nil {
				return err
			}
			opened, err := c.open()
			if err != nil {
				return err
			}
			return opened.Kill(cmd.Context(), args[0], daemon)
		},
	}
}

func (c *command) start() *cobra.Command {
	return &cobra.Command{
		Use:   "start NODE agent|vswitchd|ovsdb",
		Short: "Start a daemon of a node that does not run",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			daemon, err := lab.ParseDaemon(args[1])
			if err != nil {
				return err
			}
			opened, err := c.open()
			if err != nil {
				return err
			}
			return opened.Start(cmd.Context(), args[0], daemon)
		},
	}
}

func (c *command) logs() *cobra.Command {
	return &cobra.Command{
		Use:   "logs NODE [agent|vswitchd|ovsdb]",
		Short: "Print the log of a daemon of a node, the agent if none is named",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			daemon := lab.Agent
			if len(args) == 2 {
				var err error
				if daemon, err = lab.ParseDaemon(args[1]); err != nil {
					return err
				}
			}
			opened, err := c.open()
			if err != nil {
				return err
			}
			path, err := opened.LogFile(args[0], daemon)
			if err != nil {
				return err
			}
			file, err := os.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s of node %s has no log yet (%s)", daemon, args[0], path)
			}
			if err != nil {
				return err
			}
			defer file.Close()
			_, err = io.Copy(cmd.OutOrStdout(), file)
			return err
		},
	}
}
