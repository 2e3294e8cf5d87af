package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows/compare"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
)

// Exit statuses of diff, as diff(1)'s.
const (
	statusDifferent = 1
	statusTrouble   = 2
)

// diffArgs are the command's flags.
type diffArgs struct {
	from, to     []string
	node, output string
}

func diffCommand(client func() *api.Client) *cobra.Command {
	var a diffArgs
	cmd := &cobra.Command{
		Use:   "diff -f DIR|FILE [--node NAME] [--from OLD]",
		Short: "What YAML would change on this node, or between two directories: flows and host, by owner",
		Long: "What YAML would change: the flows (as `ovs-ofctl diff-flows` writes them), the host's side,\n" +
			"and in words by owner.\n\n" +
			"Without --from, on the running node: its agent is asked for the state in force, and -f takes\n" +
			"the place of the cluster's objects. Attachments and facts stay the node's own: a Pod that is only in\n" +
			"-f has flows once it is plugged in.\n\n" +
			"With --from, between two directories, with no agent: for one node, or for all. Attachments come from\n" +
			"the Pods that have status.podIPs, unless one side has the NodeState that `sluicectl state`\n" +
			"prints: then it stands for both. A node that one side does not have has no flows there.\n\n" +
			"Exit status: 0 no difference, 1 differences, 2 trouble.",
		Args: func(cmd *cobra.Command, args []string) error { return trouble(cobra.NoArgs(cmd, args)) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.compare(cmd.Context(), client())
			if err != nil {
				return trouble(err)
			}
			if err := printDiff(cmd.OutOrStdout(), list, a.output); err != nil {
				return trouble(err)
			}
			if slices.ContainsFunc(list, func(n nodeDiff) bool { return !n.diff.Empty() }) {
				return exit{status: statusDifferent}
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return trouble(err) })
	outputFlag(cmd, &a.output, "json")
	cmd.Flags().StringArrayVarP(&a.to, "filename", "f", nil, "directory or file of Kubernetes YAML (may be repeated)")
	cmd.Flags().StringArrayVar(&a.from, "from", nil, "directory or file to compare with, instead of the running node (may be repeated)")
	cmd.Flags().StringVar(&a.node, "node", "", "name of the node (default: the agent's; with --from, all)")
	return cmd
}

// trouble is an error with diff's exit status for it.
func trouble(err error) error {
	if err == nil {
		return nil
	}
	return exit{statusTrouble, err}
}

// nodeDiff is what differs of one node; from and to say what the sides are.
type nodeDiff struct {
	node, from, to string
	diff           compare.Difference
}

func (a diffArgs) compare(ctx context.Context, client *api.Client) ([]nodeDiff, error) {
	if len(a.to) == 0 {
		return nil, errors.New("diff needs -f DIR|FILE")
	}
	if a.output != "" && a.output != "json" {
		return nil, badOutput(a.output, "json")
	}
	to, err := manifests.Read(a.to...)
	if err != nil {
		return nil, err
	}
	if len(a.from) == 0 {
		return a.running(ctx, client, to)
	}
	from, err := manifests.Read(a.from...)
	if err != nil {
		return nil, err
	}
	return a.offline(from, to)
}

// running compares the agent's node with itself, the cluster's objects being others.
func (a diffArgs) running(ctx context.Context, client *api.Client, to manifests.Content) ([]nodeDiff, error) {
	from, err := runningState(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("%w\n--from OLD compares two directories without an agent", err)
	}
	if a.node != "" && a.node != from.Node {
		return nil, fmt.Errorf("the agent here is node %q's, not %q's: ask on that node, or compare two directories with --from OLD", from.Node, a.node)
	}
	if !has(to, from.Node) {
		return nil, noNode(from.Node, a.to, to.Nodes)
	}
	return []nodeDiff{{
		node: from.Node, from: "as it is", to: strings.Join(a.to, " "),
		diff: compare.Sides(compare.Render(from), compare.Render(to.Within(from))),
	}}, nil
}

// offline compares one node of two directories, or all.
func (a diffArgs) offline(from, to manifests.Content) ([]nodeDiff, error) {
	both := slices.Concat(from.Nodes, to.Nodes)
	var names []string
	for _, n := range both {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if a.node != "" {
		if !slices.Contains(names, a.node) {
			return nil, noNode(a.node, slices.Concat(a.from, a.to), both)
		}
		names = []string{a.node}
	}
	var out []nodeDiff
	for _, n := range names {
		out = append(out, nodeDiff{
			node: n, from: strings.Join(a.from, " "), to: strings.Join(a.to, " "),
			diff: compare.Sides(sideOf(from, to, n), sideOf(to, from, n)),
		})
	}
	return out, nil
}

// sideOf is a node's render in one directory. What only the node itself can know is the
// other's where this one does not say it: YAML does not change it.
func sideOf(c, other manifests.Content, node string) compare.Side {
	if !has(c, node) {
		return compare.Side{}
	}
	if _, ok := c.NodeStates[node]; ok {
		return compare.Render(c.State(node))
	}
	if _, ok := other.NodeStates[node]; ok {
		return compare.Render(c.Within(other.State(node)))
	}
	s := c.State(node)
	s.Attachments = render.Attachments(s)
	return compare.Render(s)
}

func has(c manifests.Content, node string) bool {
	return slices.ContainsFunc(c.Nodes, func(n state.Node) bool { return n.Name == node })
}

func printDiff(w io.Writer, list []nodeDiff, output string) error {
	if output == "json" {
		return printJSON(w, diffJSON(list))
	}
	for _, n := range list {
		if !n.diff.Empty() {
			fmt.Fprintf(w, "--- node %s: %s\n+++ node %s: %s\n%s", n.node, n.from, n.node, n.to, n.diff)
		}
	}
	return nil
}
