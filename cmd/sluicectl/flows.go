package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/flows"
)

func flowsCommand(client func() *api.Client) *cobra.Command {
	var output, table string
	var drops bool
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "The switch's flows by table, with each one's owner and packets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := client().Flows(cmd.Context())
			if err != nil {
				return err
			}
			if list, err = selected(list, table, drops); err != nil {
				return err
			}
			switch output {
			case "":
				printFlows(cmd.OutOrStdout(), list)
				return nil
			case "json":
				return printJSON(cmd.OutOrStdout(), list)
			}
			return badOutput(output, "json")
		},
	}
	outputFlag(cmd, &output, "json")
	cmd.Flags().StringVar(&table, "table", "", "only this table, by name or number")
	cmd.Flags().BoolVar(&drops, "drops", false, "only flows that dropped something")
	return cmd
}

func selected(list []api.Flow, table string, drops bool) ([]api.Flow, error) {
	id := -1
	if table != "" {
		for _, t := range flows.Pipeline {
			if t.Name == table || fmt.Sprint(t.ID) == table || fmt.Sprint(uint8(t.ID)) == table {
				id = int(t.ID)
			}
		}
		if id < 0 {
			var names []string
			for _, t := range flows.Pipeline {
				names = append(names, t.Name)
			}
			return nil, fmt.Errorf("--table %q: expected one of %s", table, strings.Join(names, ", "))
		}
	}
	var out []api.Flow
	for _, f := range list {
		if (id < 0 || f.Table == id) && (!drops || f.Drops && f.Packets > 0) {
			out = append(out, f)
		}
	}
	return out, nil
}

func printFlows(w io.Writer, list []api.Flow) {
	last := -1
	for _, f := range list {
		if f.Table != last {
			if last >= 0 {
				fmt.Fprintln(w)
			}
			last = f.Table
			id := flows.TableID(f.Table)
			t, _ := flows.TableByID(id)
			fmt.Fprintf(w, "table %d %s: %s\n", f.Table, id, t.Purpose)
		}
		who := f.Owner
		if f.Rule != "" {
			who += ": " + f.Rule
		}
		fmt.Fprintf(w, "  %8d  %s\n            # %s\n", f.Packets, withoutTable(f.Text), who)
	}
}

// withoutTable leaves out what the heading says, and the cookie, which the owner's
// name stands for.
func withoutTable(text string) string {
	if i := strings.Index(text, "priority="); i >= 0 {
		return text[i:]
	}
	return text
}
