package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows/endpoint"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
)

func policiesCommand(client func() *api.Client) *cobra.Command {
	var files []string
	var output string
	cmd := &cobra.Command{
		Use:   "policies [POD] [-f DIR|FILE]",
		Short: "NetworkPolicies and the pods that each selects, or those that select one pod; on a node with hit counts",
		Long: "NetworkPolicies and the pods that each selects, or those that select one pod.\n\n" +
			"On a running node: those that select a pod here, how many packets each rule has allowed, and how\n" +
			"many were dropped for each pod because no rule allowed them. With -f, from YAML alone: no root, no\n" +
			"Open vSwitch, no agent.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := reportPolicies(cmd.Context(), client(), files, args)
			if err != nil {
				return err
			}
			return printReport(cmd.OutOrStdout(), output, report)
		},
	}
	outputFlag(cmd, &output, "json")
	filesFlag(cmd, &files)
	return cmd
}

// policyReport is what the command tells. Node and Isolated are empty without a node; Pod is the one
// that is asked about, empty if all are.
type policyReport struct {
	Node     string        `json:"node,omitempty"`
	Pod      string        `json:"pod,omitempty"`
	Policies []policyLine  `json:"policies"`
	Isolated []isolatedPod `json:"isolated,omitempty"`
}

func reportPolicies(ctx context.Context, client *api.Client, files, args []string) (policyReport, error) {
	if len(files) == 0 {
		return nodePolicies(ctx, client, args)
	}
	c, err := readPolicies(files)
	if err != nil {
		return policyReport{}, err
	}
	only, err := c.only(args)
	if err != nil {
		return policyReport{}, err
	}
	return policyReport{Pod: only, Policies: c.policies(only)}, nil
}

func (r policyReport) print(w io.Writer) error {
	if r.Node != "" {
		return r.printNode(w)
	}
	return printPolicies(w, r.Policies)
}

func filesFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil, "directory or file of Kubernetes YAML (may be repeated)")
}

// policyContent is a cluster, as policies see it.
type policyContent struct {
	state state.State
	// where says in words where the objects are from.
	where string
	// standIns are the addresses given to pods that have none in the files, by pod.
	standIns map[string]netip.Addr
}

// readPolicies reads a cluster. Pods that are not running anywhere yet have no address: they
// get one in their stead.
func readPolicies(files []string) (policyContent, error) {
	content, err := manifests.Read(files...)
	if err != nil {
		return policyContent{}, err
	}
	c := policyContent{state: content.State(""), where: strings.Join(files, " "), standIns: map[string]netip.Addr{}}
	next := netip.MustParseAddr("100.64.0.1") // RFC 6598: nobody's in particular
	for i := range c.state.Pods {
		p := &c.state.Pods[i]
		if len(p.Addresses) == 0 && !p.HostNetwork && !p.Finished {
			p.Addresses = []netip.Addr{next}
			c.standIns[podName(*p)] = next
			next = next.Next()
		}
	}
	return c, nil
}

func podName(p state.Pod) string { return p.Namespace + "/" + p.Name }

// pod finds a pod, with the addresses that it was plugged in with if it is here.
func (c policyContent) pod(namespace, name string) (state.Pod, error) {
	for _, p := range c.pods() {
		if p.Namespace == namespace && p.Name == name {
			return p, nil
		}
	}
	if c.running() {
		return state.Pod{}, fmt.Errorf("there is no Pod %s/%s in %s; Pods plugged in here: %s",
			namespace, name, c.where, cmp.Or(strings.Join(podNames(c.local()), ", "), "none"))
	}
	return state.Pod{}, fmt.Errorf("there is no Pod %s/%s in %s; Pods there: %s",
		namespace, name, c.where, cmp.Or(strings.Join(podNames(c.state.Pods), ", "), "none"))
}

func podNames(pods []state.Pod) []string {
	var out []string
	for _, p := range pods {
		out = append(out, podName(p))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// addresses of an endpoint, and what has to be known of them.
func (c policyContent) addresses(e endpoint.Endpoint) (out []netip.Addr, notes []string, err error) {
	switch e.Kind {
	case endpoint.Address:
		return []netip.Addr{e.Address}, nil, nil
	case endpoint.Outside:
		out = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
		return out, []string{"192.0.2.1 and 2001:db8::1 stand for all that is outside; a rule with an ipBlock may say otherwise of another address"}, nil
	case endpoint.Service:
		out, err = c.virtualAddresses(e.Namespace, e.Name)
		return out, nil, err
	case endpoint.Node:
		for _, n := range c.state.Nodes {
			if n.Name == e.Name {
				return n.Addresses, nil, nil
			}
		}
		return nil, nil, noNode(e.Name, []string{c.where}, c.state.Nodes)
	}
	p, err := c.pod(e.Namespace, e.Name)
	switch {
	case err != nil:
		return nil, nil, err
	case p.HostNetwork:
		if out = p.Addresses; len(out) == 0 {
			out, _, err = c.addresses(endpoint.Endpoint{Kind: endpoint.Node, Name: p.Node})
		}
		return out, []string{podName(p) + " is on its host's network: for policies it is its node"}, err
	case p.Finished:
		return p.Addresses, []string{podName(p) + " has finished: its address may be another's by now"}, nil
	}
	if a, ok := c.standIns[podName(p)]; ok {
		notes = []string{podName(p) + " has no status.podIPs: " + a.String() + " stands for its address"}
	}
	if len(p.Addresses) == 0 {
		return nil, nil, fmt.Errorf("%s has no address yet; -f asks YAML alone", podName(p))
	}
	return p.Addresses, notes, nil
}

// policyLine is a policy and whom it is about.
type policyLine struct {
	Policy  string `json:"policy"`
	Selects string `json:"selects"`
	// Ingress and Egress are the numbers of rules; nil if it does not isolate.
	Ingress *int     `json:"ingress,omitempty"`
	Egress  *int     `json:"egress,omitempty"`
	Pods    []string `json:"pods"`
	Fault   string   `json:"fault,omitempty"`
	// Rules are those of both directions, on a running node.
	Rules []ruleHits `json:"rules,omitempty"`
}

// only is the name of the pod that is meant, empty if all are. On a node it is one of its own.
func (c policyContent) only(args []string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	e, err := endpoint.Parse(args[0])
	if err != nil {
		return "", err
	}
	if e.Kind != endpoint.Pod {
		return "", fmt.Errorf("%s is no pod: policies select pods", e)
	}
	p, err := c.pod(e.Namespace, e.Name)
	if err != nil {
		return "", err
	}
	if c.running() && !slices.Contains(podNames(c.local()), podName(p)) {
		return "", fmt.Errorf("%s is not plugged in on node %s: ask on node %s", podName(p), c.state.Node, cmp.Or(p.Node, "that it will be on"))
	}
	return podName(p), nil
}

// policies are all, or those that select the pod of that name.
func (c policyContent) policies(only string) []policyLine {
	out := []policyLine{}
	for _, p := range c.state.NetworkPolicies {
		line := policyLine{Policy: p.Namespace + "/" + p.Name, Selects: verdict.SelectorWords(p.Selects), Fault: p.Fault, Pods: []string{}}
		for _, d := range verdict.Directions(p) {
			n := len(p.Rules(d))
			if d == state.Egress {
				line.Egress = &n
			} else {
				line.Ingress = &n
			}
		}
		for _, pod := range c.subjects() {
			if verdict.Selects(p, pod) {
				line.Pods = append(line.Pods, podName(pod))
			}
		}
		slices.Sort(line.Pods)
		line.Pods = slices.Compact(line.Pods)
		if only == "" || slices.Contains(line.Pods, only) {
			out = append(out, line)
		}
	}
	slices.SortFunc(out, func(a, b policyLine) int { return strings.Compare(a.Policy, b.Policy) })
	return out
}

func printPolicies(out io.Writer, list []policyLine) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "POLICY\tSELECTS\tINGRESS\tEGRESS\tPODS")
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Policy, p.Selects, rules(p.Ingress), rules(p.Egress), cmp.Or(strings.Join(p.Pods, ","), "none"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range list {
		if p.Fault != "" {
			fmt.Fprintf(out, "%s cannot be understood, and so allows nothing: %s\n", p.Policy, p.Fault)
		}
	}
	return nil
}

func rules(n *int) string {
	switch {
	case n == nil:
		return "-"
	case *n == 0:
		return "nothing"
	case *n == 1:
		return "1 rule"
	}
	return fmt.Sprintf("%d rules", *n)
}
