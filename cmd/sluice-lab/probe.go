package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/test/lab"
)

func (c *command) probe() *cobra.Command {
	var request lab.ProbeRequest
	var from, to []string
	var output, expect string
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Try what reaches what",
		Long: `probe tries what reaches what and prints a matrix of it. Without flags it goes
from every pod and node to every pod, every node and outside, by ICMP and to every
port that is declared, to and from pods also with packets as large as a pod's MTU
allows, which may not be fragmented. Nothing is tried twice: a lost first packet
shows.

The exit status says whether it could be tried, not what was found, unless --expect
says what shall be found.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", output, "", "json"); err != nil {
				return err
			}
			if err := oneOf("expect", expect, "", "all", "none"); err != nil {
				return err
			}
			var err error
			if request.From, err = endpoints(from); err != nil {
				return err
			}
			if request.To, err = endpoints(to); err != nil {
				return err
			}
			opened, err := c.open()
			if err != nil {
				return err
			}
			results, err := opened.Probe(cmd.Context(), request)
			if err != nil {
				return err
			}
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), append([]lab.ProbeResult{}, results...))
			} else {
				err = lab.WriteMatrix(cmd.OutOrStdout(), results)
			}
			if err != nil {
				return err
			}
			return asExpected(results, expect)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&from, "from", nil, "endpoint to speak from; may be repeated")
	flags.StringArrayVar(&to, "to", nil, "endpoint to speak to; may be repeated")
	flags.IntVar(&request.Port, "port", 0, "port to try instead of those that are declared")
	flags.StringVar(&request.Protocol, "proto", "", "tcp, udp, icmp or sctp; default: all but sctp")
	flags.BoolVar(&request.Bound, "bound", false, "speak with an end's own address, whatever its routes say: a node's underlay one")
	flags.IntVar(&request.Size, "size", 0, "bytes of payload, in one packet that may not be fragmented")
	flags.StringVar(&expect, "expect", "", "fail unless all or none is reached")
	outputFlag(cmd, &output)
	return cmd
}

func endpoints(texts []string) ([]lab.Endpoint, error) {
	var all []lab.Endpoint
	for _, text := range texts {
		end, err := lab.ParseEndpoint(text)
		if err != nil {
			return nil, err
		}
		all = append(all, end)
	}
	return all, nil
}

// asExpected compares results with what --expect says.
func asExpected(results []lab.ProbeResult, expect string) error {
	reached := 0
	for _, result := range results {
		if result.Reached {
			reached++
		}
	}
	want := reached
	switch expect {
	case "all":
		want = len(results)
	case "none":
		want = 0
	}
	if reached != want {
		return fmt.Errorf("%d of %d reached, expected %s", reached, len(results), expect)
	}
	return nil
}
