// Command sluicectl is for operators: what a node's network is, and what it would be.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent/api"
)

// version is set by the build (-ldflags "-X main.version=…").
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sluicectl:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:           "sluicectl",
		Short:         "What a node's network is, and what it would be",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.PersistentFlags().StringVar(&socket, "socket", cmp.Or(os.Getenv("SLUICE_AGENT_SOCKET"), api.DefaultSocket),
		"the agent's socket (default: $SLUICE_AGENT_SOCKET, or "+api.DefaultSocket+")")
	client := func() *api.Client { return api.NewClient(socket) }
	cmd.AddCommand(statusCommand(client), flowsCommand(client), stateCommand(client), checkCommand(client), renderCommand(), uninstallCommand())
	return cmd
}

// outputFlag adds -o, with the formats that a command has beside its own text.
func outputFlag(cmd *cobra.Command, into *string, formats string) {
	cmd.Flags().StringVarP(into, "output", "o", "", "output format: "+formats+" (default: text)")
}

func badOutput(format, formats string) error {
	return fmt.Errorf("-o %q: expected %s", format, formats)
}
