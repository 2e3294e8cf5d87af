package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
)

// ruleHits is a rule, and how many packets it has allowed: of connections that it allows,
// both ways, since its flows were put in.
type ruleHits struct {
	// Rule is spec.ingress[0] or spec.egress[0].
	Rule    string `json:"rule"`
	Packets uint64 `json:"packets"`
}

// isolatedPod is a pod here that a policy selects, and how many of its packets were dropped because
// no rule allowed them; nil in a direction in which no policy selects it.
type isolatedPod struct {
	Pod     string  `json:"pod"`
	Egress  *uint64 `json:"egressDropped,omitempty"`
	Ingress *uint64 `json:"ingressDropped,omitempty"`
}

// runningPolicies is the cluster as the agent's node knows it.
func runningPolicies(ctx context.Context, client *api.Client) (policyContent, error) {
	s, err := runningState(ctx, client)
	if err != nil {
		return policyContent{}, fmt.Errorf("%w\n-f DIR|FILE asks YAML alone, without an agent", err)
	}
	return policyContent{state: s, where: "what node " + s.Node + " knows"}, nil
}

func (c policyContent) running() bool { return c.state.Node != "" }

// local are the pods that are plugged in here, with the addresses that they were plugged in
// with, the newest sandbox first. One that is not known is one without labels.
func (c policyContent) local() []state.Pod {
	var out []state.Pod
	newest := slices.SortedFunc(slices.Values(c.state.Attachments), func(a, b state.Attachment) int { return cmp.Compare(b.Created, a.Created) })
	for _, a := range newest {
		if a.PodName == "" {
			continue
		}
		p := a.Stranger(c.state.Node)
		if i := slices.IndexFunc(c.state.Pods, a.Of); i >= 0 {
			p = c.state.Pods[i]
		}
		p.Addresses = a.Addresses
		out = append(out, p)
	}
	return out
}

// pods are all that are known: those that are here as they are here.
func (c policyContent) pods() []state.Pod { return slices.Concat(c.local(), c.state.Pods) }

// subjects are the pods that policies are shown for: on a node, those that are here.
func (c policyContent) subjects() []state.Pod {
	if c.running() {
		return c.local()
	}
	return c.state.Pods
}

// nodePolicies are those that select a pod of the agent's node, with what the switch has counted.
func nodePolicies(ctx context.Context, client *api.Client, args []string) (policyReport, error) {
	c, err := runningPolicies(ctx, client)
	if err != nil {
		return policyReport{}, err
	}
	only, err := c.only(args)
	if err != nil {
		return policyReport{}, err
	}
	dump, err := client.Flows(ctx)
	if err != nil {
		return policyReport{}, err
	}
	packets := map[string]uint64{}
	for _, f := range dump {
		packets[f.Cookie] += f.Packets
	}
	report := policyReport{Node: c.state.Node, Pod: only, Policies: slices.DeleteFunc(c.policies(only), func(p policyLine) bool { return len(p.Pods) == 0 })}
	pods := map[string]*isolatedPod{}
	for i := range report.Policies {
		report.Policies[i].count(packets, pods)
	}
	for _, p := range pods {
		if only == "" || p.Pod == only {
			report.Isolated = append(report.Isolated, *p)
		}
	}
	slices.SortFunc(report.Isolated, func(a, b isolatedPod) int { return strings.Compare(a.Pod, b.Pod) })
	return report, nil
}

// count adds what was counted for the policy's rules, and for the pods that it isolates.
func (p *policyLine) count(packets map[string]uint64, pods map[string]*isolatedPod) {
	owner := flows.Owner{Kind: flows.OwnerPolicy, Name: p.Policy}
	for _, d := range []state.Direction{state.Ingress, state.Egress} {
		rules, isolated := p.Ingress, flows.RuleIngressIsolated
		if d == state.Egress {
			rules, isolated = p.Egress, flows.RuleEgressIsolated
		}
		if rules == nil {
			continue
		}
		for i := range *rules {
			name := verdict.RuleName{Policy: p.Policy, Direction: d, Index: i}
			p.Rules = append(p.Rules, ruleHits{
				Rule:    strings.TrimPrefix(name.String(), p.Policy+" "),
				Packets: packets[owner.Cookie(flows.PolicyRule(d == state.Egress, i)).String()],
			})
		}
		for _, name := range p.Pods {
			if pods[name] == nil {
				pods[name] = &isolatedPod{Pod: name}
			}
			dropped := packets[flows.Owner{Kind: flows.OwnerPod, Name: name}.Cookie(isolated).String()]
			if d == state.Egress {
				pods[name].Egress = &dropped
			} else {
				pods[name].Ingress = &dropped
			}
		}
	}
}

func (r policyReport) printNode(out io.Writer) error {
	if len(r.Policies) == 0 {
		_, err := fmt.Fprintf(out, "node %s: no NetworkPolicy selects %s\n", r.Node, cmp.Or(r.Pod, "a pod here"))
		return err
	}
	if err := printPolicies(out, r.Policies); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nRULE\tPACKETS")
	for _, p := range r.Policies {
		for _, rule := range p.Rules {
			fmt.Fprintf(w, "%s %s\t%d\n", p.Policy, rule.Rule, rule.Packets)
		}
	}
	fmt.Fprintln(w, "\nPOD\tEGRESS DROPPED\tINGRESS DROPPED")
	for _, p := range r.Isolated {
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Pod, counted(p.Egress), counted(p.Ingress))
	}
	return w.Flush()
}

func counted(n *uint64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatUint(*n, 10)
}
