package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/flows/render"
)

func podsCommand(client func() *api.Client) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "pods",
		Short: "The containers plugged in on this node, and how things stand with them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := client().Pods(cmd.Context())
			if err != nil {
				return err
			}
			switch output {
			case "":
				return printPods(cmd.OutOrStdout(), list, time.Now())
			case "json":
				return printJSON(cmd.OutOrStdout(), list)
			}
			return badOutput(output, "json")
		},
	}
	outputFlag(cmd, &output, "json")
	return cmd
}

// shownID is how much of a container's id the table shows, as other tools do. JSON has
// all of it.
const shownID = 13

func printPods(out io.Writer, list []api.PodStatus, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "POD\tNETWORK\tINTERFACE\tCONTAINER\tON\tOFPORT\tADDRESSES\tHOST PORTS\tMAC\tAGE\tSTATE")
	for _, p := range list {
		state := p.State
		if p.Reason != "" {
			state += ": " + p.Reason
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.*s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(p.Pod, "-"), p.Network, p.IfName, shownID, p.ContainerID,
			place(p), p.OFPort, strings.Join(p.Addresses, ","), cmp.Or(strings.Join(p.HostPorts, ","), "-"), p.MAC, age(now.Sub(p.Created)), state)
	}
	return w.Flush()
}

// place is the bridge on which the port is, with its VLANs, or the device.
func place(p api.PodStatus) string {
	switch {
	case p.Device != "":
		return "device " + p.Device
	case p.Bridge == "":
		return render.Bridge
	}
	out := p.Bridge
	if p.VLAN != 0 {
		out += fmt.Sprintf(" vlan %d", p.VLAN)
	}
	if n := len(p.Trunk); n > 0 {
		out += fmt.Sprintf(" trunk of %d", n)
	}
	return out
}

// age is a duration in its largest unit, as kubectl writes it.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
