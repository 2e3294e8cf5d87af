package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent/api"
)

func statusCommand(client func() *api.Client) *cobra.Command {
	var output string
	var ready bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "This node: bridge, tunnel, ports, input seen and installed, and what is wrong",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := client().Status(cmd.Context())
			if err != nil {
				return err
			}
			if ready {
				return notReady(s)
			}
			switch output {
			case "":
				printStatus(cmd.OutOrStdout(), s)
				return nil
			case "json":
				return printJSON(cmd.OutOrStdout(), s)
			}
			return badOutput(output, "json")
		},
	}
	outputFlag(cmd, &output, "json")
	cmd.Flags().BoolVar(&ready, "ready", false, "print nothing, and fail if the node is not ready (for a readiness probe)")
	return cmd
}

func notReady(s api.Status) error {
	if s.Ready {
		return nil
	}
	return fmt.Errorf("node %s is not ready: %s", s.Node, cmp.Or(strings.Join(s.Problems, "; "), "it is starting"))
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printStatus(out io.Writer, s api.Status) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	ready := "ready"
	if !s.Ready {
		ready = "NOT READY"
	}
	line("node", "%s: %s; agent %s, up %s", s.Node, ready, s.Version, time.Since(s.Started).Round(time.Second))
	for _, p := range s.Problems {
		line("problem", "%s", p)
	}
	connected := "connected"
	if !s.Bridge.Connected {
		connected = "NOT CONNECTED"
	}
	line("bridge", "%s, %s, Open vSwitch %s", s.Bridge.Name, connected, cmp.Or(s.Bridge.OVSVersion, "(version not told)"))
	line("datapath", "%s: %s", cmp.Or(s.Bridge.Datapath, "?"), s.Bridge.Why)
	if s.Bridge.RestoreWait != "" {
		line("restore", "flow-restore-wait is %s", s.Bridge.RestoreWait)
	}
	local := s.Tunnel.LocalAddress
	if other := s.Tunnel.OtherLocalAddress; other != "" {
		local += " and " + other
	}
	line("tunnel", "%s from %s on %s (MTU %d); pods have MTU %d", s.Tunnel.Encapsulation, local, s.Tunnel.Device, s.Tunnel.DeviceMTU, s.MTU)
	line("podCIDRs", "%s", cmp.Or(strings.Join(s.PodCIDRs, " "), "none"))
	line("flows", "%d installed, %d desired, %d repaired", s.Flows.Installed, s.Flows.Desired, s.Flows.Repaired)
	inForce := "in force"
	if s.Input.Seen != s.Input.Installed {
		inForce = fmt.Sprintf("NOT in force: seen %s, installed %s", short(s.Input.Seen), cmp.Or(short(s.Input.Installed), "nothing"))
	}
	line("input", "%s: %s since %s", s.Input.Source, inForce, s.Input.Since.Format(time.DateTime))
	if at := s.Input.UnreadableSince; !at.IsZero() {
		line("", "cannot be read since %s, %s ago: the last known state is in force", at.Format(time.DateTime), time.Since(at).Round(time.Second))
	}
	_ = w.Flush()

	if len(s.Peers) > 0 {
		fmt.Fprintln(w, "\nPEER\tADDRESS\tPODCIDRS")
		for _, p := range s.Peers {
			fmt.Fprintf(w, "%s\t%s\t%s\n", p.Node, cmp.Or(p.Address, "none"), cmp.Or(strings.Join(p.PodCIDRs, " "), "none"))
		}
		_ = w.Flush()
	}
	if len(s.Ports) > 0 {
		fmt.Fprintln(w, "\nOFPORT\tPORT\tKIND\tADDRESSES\tMAC\tPOD OR CONTAINER")
		for _, p := range s.Ports {
			who := p.Pod
			if who == "" && p.ContainerID != "" {
				who = p.ContainerID + " " + p.IfName
			}
			if p.Error != "" {
				who += " ERROR: " + p.Error
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", p.OFPort, p.Name, p.Kind, strings.Join(p.Addresses, " "), p.MAC, who)
		}
		_ = w.Flush()
	}
}

// short is enough of a digest to tell two apart.
func short(s string) string {
	if len(s) == 64 {
		return s[:12]
	}
	return s
}
