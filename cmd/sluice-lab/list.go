package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/test/lab"
)

func (c *command) list() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show nodes and pods",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", output, "", "json"); err != nil {
				return err
			}
			opened, err := c.open()
			if err != nil {
				return err
			}
			listing, err := opened.List()
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), listing)
			}
			return writeListing(cmd.OutOrStdout(), listing)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "json, for programs")
}

func writeJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// writeListing writes a listing for people.
func writeListing(out io.Writer, listing *lab.Listing) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NODE\tADDRESS\tPOD CIDR\tAGENT\tVSWITCHD\tOVSDB\tNETNS")
	for _, node := range listing.Nodes {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", node.Name, addresses(node.Addresses), orNone(strings.Join(node.PodCIDRs, ",")),
			process(node.PIDs.Agent), process(node.PIDs.Vswitchd), process(node.PIDs.OVSDB), node.Netns)
	}
	fmt.Fprintf(table, "outside\t%s\t-\t-\t-\t-\t%s\n", addresses(listing.Outside.Addresses), listing.Outside.Netns)
	if err := table.Flush(); err != nil || len(listing.Pods) == 0 {
		return err
	}
	fmt.Fprintln(out)
	fmt.Fprintln(table, "POD\tADDRESS\tNODE\tPORTS\tNETNS")
	for _, pod := range listing.Pods {
		var ports []string
		for _, port := range pod.Ports {
			ports = append(ports, fmt.Sprintf("%d/%s", port.Port, port.Protocol))
		}
		fmt.Fprintf(table, "%s/%s\t%s\t%s\t%s\t%s\n", pod.Namespace, pod.Name, addresses(pod.Addresses), pod.Node, orNone(strings.Join(ports, ",")), pod.Netns)
	}
	return table.Flush()
}

func addresses(list []netip.Addr) string {
	var texts []string
	for _, address := range list {
		texts = append(texts, address.String())
	}
	return orNone(strings.Join(texts, ","))
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func process(pid int) string {
	if pid == 0 {
		return "dead"
	}
	return fmt.Sprint(pid)
}
