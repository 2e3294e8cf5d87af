package main

import (
	"context"
	"fmt"
	"log/slog"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/agent/uninstall"
)

func uninstallCommand() *cobra.Command {
	c := uninstall.Config{
		OVSDB: "unix:/var/run/openvswitch/db.sock", RunDir: "/run/sluice",
		CNIConf: "/etc/cni/net.d/10-sluice.conflist", CNIPlugin: "/opt/cni/bin/sluice",
	}
	var stay bool
	cmd := &cobra.Command{
		Use:   "uninstall-node",
		Short: "Take Sluice off this node: bridge, rules, CNI configuration and plugin",
		Long: `uninstall-node takes Sluice off this node. The agent must not run any more, and
no pod may be plugged in, unless --force says that they may lose their network.
Open vSwitch, sysctls and the reference CNI plugins stay.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			if err := uninstall.Node(cmd.Context(), c, log); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "Sluice is off this node")
			if stay {
				ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
				defer stop()
				<-ctx.Done()
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.OVSDB, "ovs-db", c.OVSDB, "where ovsdb-server listens")
	f.StringVar(&c.RunDir, "run-dir", c.RunDir, "where the agent's sockets are")
	f.StringVar(&c.CNIConf, "cni-conf", c.CNIConf, "the network configuration to remove")
	f.StringVar(&c.CNIPlugin, "cni-plugin", c.CNIPlugin, "the CNI executable to remove")
	f.BoolVar(&c.Force, "force", false, "also under pods that are still plugged in")
	f.BoolVar(&stay, "stay", false, "when it is done, wait to be ended (in a DaemonSet, whose containers may not end)")
	return cmd
}
