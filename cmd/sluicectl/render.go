package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
)

func renderCommand() *cobra.Command {
	var files []string
	var node, output string
	var host bool
	cmd := &cobra.Command{
		Use:   "render -f DIR|FILE --node NAME",
		Short: "The flows of any node, from YAML alone: no root, no Open vSwitch, no agent",
		Long: "The flows of any node, from YAML alone: no root, no Open vSwitch, no agent.\n\n" +
			"Without -o it prints lines that `ovs-ofctl -O OpenFlow15 bundle br-sluice FILE` loads.\n" +
			"Attachments come from the Pods on that node that have status.podIPs, or from the\n" +
			"NodeState that `sluicectl state` prints.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 || node == "" {
				return errors.New("render needs -f DIR|FILE and --node NAME")
			}
			s, err := read(files, node)
			if err != nil {
				return err
			}
			if host {
				if output == "json" {
					return printJSON(cmd.OutOrStdout(), render.HostSide(s))
				}
				fmt.Fprint(cmd.OutOrStdout(), render.HostSide(s))
				return nil
			}
			r := render.Tables(s)
			for _, c := range r.Conflicts {
				fmt.Fprintln(cmd.ErrOrStderr(), "conflict:", c)
			}
			for _, p := range render.Problems(s) {
				fmt.Fprintln(cmd.ErrOrStderr(), "problem:", p)
			}
			switch output {
			case "":
				for _, g := range r.Groups() {
					fmt.Fprintln(cmd.OutOrStdout(), "group add", g)
				}
				for _, f := range r.Flows() {
					fmt.Fprintln(cmd.OutOrStdout(), "flow add", f)
				}
				return nil
			case "json":
				return printJSON(cmd.OutOrStdout(), rendered(r))
			}
			return badOutput(output, "json")
		},
	}
	outputFlag(cmd, &output, "json")
	filesFlag(cmd, &files)
	cmd.Flags().StringVar(&node, "node", "", "name of the node")
	cmd.Flags().BoolVar(&host, "host", false, "the host's side instead: addresses, routes, sysctls, rules")
	return cmd
}

// read is the state of a node from YAML.
func read(files []string, node string) (state.State, error) {
	c, err := manifests.Read(files...)
	if err != nil {
		return state.State{}, err
	}
	s := c.State(node)
	if _, ok := s.Self(); !ok {
		return s, noNode(node, files, s.Nodes)
	}
	if _, ok := c.NodeStates[node]; !ok {
		s.Attachments = render.Attachments(s)
	}
	return s, nil
}

// noNode says that a Node is not in the files, and which are.
func noNode(node string, files []string, nodes []state.Node) error {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	slices.Sort(names)
	there := cmp.Or(strings.Join(slices.Compact(names), ", "), "none")
	return fmt.Errorf("there is no Node %q in %s; Nodes there: %s", node, strings.Join(files, " "), there)
}

// renderedFlow is a flow as render -o json tells it.
type renderedFlow struct {
	Table    uint8  `json:"table"`
	Priority uint16 `json:"priority"`
	Cookie   string `json:"cookie"`
	Match    string `json:"match"`
	Actions  string `json:"actions"`
	Owner    string `json:"owner"`
	Rule     string `json:"rule"`
}

func rendered(r render.Result) any {
	out := struct {
		Groups []string       `json:"groups"`
		Flows  []renderedFlow `json:"flows"`
	}{Groups: []string{}, Flows: []renderedFlow{}}
	for _, g := range r.Groups() {
		out.Groups = append(out.Groups, g.String())
	}
	owners := r.Owners()
	for _, f := range r.Flows() {
		_, actions, _ := strings.Cut(f.String(), " actions=")
		out.Flows = append(out.Flows, renderedFlow{
			Table: uint8(f.Table), Priority: f.Priority, Cookie: f.Cookie.String(), Match: f.Match.String(), Actions: actions,
			Owner: owners[f.Cookie.Owner()].String(), Rule: f.Cookie.Words(),
		})
	}
	return out
}
