package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent/api"
)

func checkCommand(client func() *api.Client) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "What is wrong with this node, and what to do; fails if anything is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := client().Status(cmd.Context())
			if err != nil {
				return err
			}
			broken, err := client().Check(cmd.Context())
			if err != nil {
				return err
			}
			hazards, err := client().Hazards(cmd.Context())
			if err != nil {
				return err
			}
			switch output {
			case "":
				for _, p := range s.Problems {
					fmt.Fprintln(cmd.OutOrStdout(), "problem:", p)
				}
				for _, b := range broken {
					fmt.Fprintln(cmd.OutOrStdout(), "inconsistent:", b)
				}
				for _, h := range hazards {
					fmt.Fprintln(cmd.OutOrStdout(), "hazard:", h)
				}
			case "json":
				if err := printJSON(cmd.OutOrStdout(), map[string]any{"problems": s.Problems, "inconsistent": broken, "hazards": hazards}); err != nil {
					return err
				}
			default:
				return badOutput(output, "json")
			}
			if n := len(s.Problems) + len(broken) + len(hazards); n > 0 {
				return fmt.Errorf("node %s: %d found", s.Node, n)
			}
			if output == "" {
				fmt.Fprintf(cmd.OutOrStdout(), "node %s: all is well\n", s.Node)
			}
			return nil
		},
	}
	outputFlag(cmd, &output, "json")
	return cmd
}
