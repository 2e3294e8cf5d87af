// Command sluicectl is for operators: what a node's network is, and what it would be.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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
	os.Exit(run(ctx, command(), os.Stderr))
}

// run runs a command and returns the exit status.
func run(ctx context.Context, cmd *cobra.Command, stderr io.Writer) int {
	err := cmd.ExecuteContext(ctx)
	var e exit
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &e):
		e = exit{1, err}
	}
	if e.err != nil {
		fmt.Fprintln(stderr, "sluicectl:", e.err)
	}
	return e.status
}

// exit is an error with an exit status other than 1, or a status with nothing to say.
type exit struct {
	status int
	err    error
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

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
	cmd.AddCommand(statusCommand(client), podsCommand(client), flowsCommand(client), stateCommand(client), checkCommand(client), renderCommand(), diffCommand(client),
		whyCommand(client), policiesCommand(client), servicesCommand(client), uninstallCommand())
	return cmd
}

// outputFlag adds -o, with the formats that a command has beside its own text.
func outputFlag(cmd *cobra.Command, into *string, formats string) {
	cmd.Flags().StringVarP(into, "output", "o", "", "output format: "+formats+" (default: text)")
}

// printReport prints it as text, or as JSON.
func printReport(w io.Writer, format string, report interface{ print(io.Writer) error }) error {
	switch format {
	case "":
		return report.print(w)
	case "json":
		return printJSON(w, report)
	}
	return badOutput(format, "json")
}

func badOutput(format, formats string) error {
	return fmt.Errorf("-o %q: expected %s", format, formats)
}
