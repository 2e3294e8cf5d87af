package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
)

// policyObjects are servers and clients.
//
//go:embed policies.yaml
var policyObjects []byte

// otherNamespace is in policies.yaml, beside trialNamespace.
const otherNamespace = "trial-other"

// trialNamespaces are those that trials make.
var trialNamespaces = []string{trialNamespace, otherNamespace}

// policyBound is how long a policy may take from kubectl to both nodes.
const policyBound = 30 * time.Second

func policiesCommand(p *place) *cobra.Command {
	return trialCommand(p, "policies", "Prove that NetworkPolicies bind, on all nodes, and are told of", trial.policies)
}

// policyStep is something that is done to the policies, and who reaches the servers then.
type policyStep struct {
	name string
	// apply is a policy; delete are names of some.
	apply  string
	delete []string
	// reach says whether a client reaches a server by a protocol: http, tcp or udp.
	reach func(client, protocol string) bool
	// names says whether clients of the servers' namespace are answered by DNS.
	names bool
	// look is what else there is to be seen.
	look func(trial, context.Context) error
	// long steps are left out where there is little time.
	long bool
}

// unreadable is the policy that cannot be understood.
const unreadable = "unreadable"

func nobody(string, string) bool         { return false }
func everybody(string, string) bool      { return true }
func friendsByHTTP(c, proto string) bool { return c == "friend" && proto == "http" }

var policySteps = []policyStep{
	{name: "no policy", long: true, reach: everybody, names: true},
	{
		name: "the servers are closed", reach: nobody, names: true,
		apply: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed, namespace: trial},
			spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress]}}`,
	},
	{
		name: "but for friends, on a named port", reach: friendsByHTTP, names: true,
		apply: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: friends, namespace: trial},
			spec: {podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress], ingress: [{
				from: [{namespaceSelector: {matchLabels: {team: other}}, podSelector: {matchLabels: {app: friend}}}],
				ports: [{port: web}]}]}}`,
		look: trial.whyNot,
	},
	{
		name: "clients of the servers' namespace may send nothing", long: true, reach: friendsByHTTP, names: false,
		apply: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: silent, namespace: trial},
			spec: {podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}}`,
	},
	{
		name: "but to DNS", long: true, reach: friendsByHTTP, names: true,
		apply: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: dns, namespace: trial},
			spec: {podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{
				to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}],
				ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}]}}`,
	},
	{
		name: "the servers are open", long: true, delete: []string{"closed", "friends"}, names: true,
		reach: func(client, _ string) bool { return client != "client" },
	},
	{
		// An API server before 1.36 takes it (and this one, as it was told to).
		name: "one that cannot be understood closes, and is told of", long: true, reach: nobody, names: true,
		delete: []string{"silent", "dns"},
		apply: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: ` + unreadable + `, namespace: trial},
			spec: {podSelector: {matchLabels: {app: server}}, ingress: [{from: [{ipBlock: {cidr: 010.0.0.0/8}}]}]}}`,
		look: trial.badPolicyTold,
	},
	{name: "no policy any more", delete: []string{"--all"}, reach: everybody, names: true},
}

// policies goes through all steps.
func (t trial) policies(ctx context.Context) error {
	if err := t.look(ctx); err != nil {
		return err
	}
	phases := []phase{{"servers and clients in two namespaces", t.createPolicied}}
	for _, step := range policySteps {
		phases = append(phases, phase{step.name, func(ctx context.Context) error { return t.policyStep(ctx, step) }})
	}
	return inTurn(ctx, append(phases, phase{"pods deleted, nothing left on the nodes", t.delete}))
}

func (t trial) createPolicied(ctx context.Context) error {
	if _, err := t.kubectl(ctx, t.cache, policyObjects, "apply", "-f", "-"); err != nil {
		return err
	}
	if err := t.rolled(ctx, "daemonset/server", "daemonset/client"); err != nil {
		return err
	}
	for _, name := range []string{"friend", "stranger"} {
		if _, err := t.kubectl(ctx, t.cache, nil, "-n", otherNamespace, "rollout", "status", "daemonset/"+name, "--timeout=3m"); err != nil {
			return err
		}
	}
	return nil
}

// policyStep does it, and waits until each client, on each node, reaches what it may and
// nothing else; the nodes reach their own servers at any time.
func (t trial) policyStep(ctx context.Context, step policyStep) error {
	if len(step.delete) > 0 {
		if _, err := t.kubectl(ctx, t.cache, nil, append([]string{"-n", trialNamespace, "delete", "networkpolicy"}, step.delete...)...); err != nil {
			return err
		}
	}
	if step.apply != "" {
		if _, err := t.kubectl(ctx, t.cache, []byte(step.apply), "apply", "-f", "-"); err != nil {
			return err
		}
	}
	servers, err := t.of(ctx, trialNamespace, "server")
	if err != nil {
		return err
	}
	service, err := t.client.CoreV1().Services(trialNamespace).Get(ctx, "server", metav1.GetOptions{})
	if err != nil {
		return err
	}
	targets := []string{"http:" + service.Spec.ClusterIP + ":80", "tcp:" + service.Spec.ClusterIP + ":81", "udp:" + service.Spec.ClusterIP + ":81"}
	for _, s := range servers {
		targets = append(targets, "http:"+s.Status.PodIP+":8080", "tcp:"+s.Status.PodIP+":8081", "udp:"+s.Status.PodIP+":8081")
	}
	err = await(ctx, "all clients to reach what they may", policyBound, func(ctx context.Context) error {
		var g errgroup.Group
		for namespace, clients := range map[string][]string{trialNamespace: {"client"}, otherNamespace: {"friend", "stranger"}} {
			for _, client := range clients {
				g.Go(func() error { return t.reachesServers(ctx, step, namespace, client, targets) })
			}
		}
		return g.Wait()
	})
	if err != nil {
		return err
	}
	if err := errors.Join(t.nodesReachServers(ctx, servers), t.neverRestarted(ctx)); err != nil || step.look == nil {
		return err
	}
	return step.look(t, ctx)
}

// reachesServers compares what a client reaches on both nodes, by the servers' own addresses
// and by their Service's, with what it may.
func (t trial) reachesServers(ctx context.Context, step policyStep, namespace, client string, targets []string) error {
	if client == "client" {
		targets = append(slices.Clip(targets), "dns:kubernetes.default.svc."+clusterDomain+".")
	}
	return t.fromEach(ctx, namespace, client, targets, func(results []lab.ProbeResult) error {
		var errs []error
		for _, r := range results {
			want := step.reach(client, r.Protocol)
			if r.Protocol == "dns" {
				want = step.names
			}
			if r.Reached != want {
				errs = append(errs, fmt.Errorf("reached %s by %s: %v, expected %v: %s", r.To, r.Protocol, r.Reached, want, r.Error))
			}
		}
		return errors.Join(errs...)
	})
}

// nodesReachServers tries what kubelet's probes do.
func (t trial) nodesReachServers(ctx context.Context, servers []corev1.Pod) error {
	listing, err := t.listing()
	if err != nil {
		return err
	}
	for _, n := range listing.Nodes {
		for _, s := range servers {
			if s.Spec.NodeName != n.Name {
				continue
			}
			address, err := netip.ParseAddr(s.Status.PodIP)
			if err != nil {
				return err
			}
			err = netns.Do(n.Netns, func() error {
				_, err := lab.Try(ctx, "tcp", netip.AddrPortFrom(address, 8081))
				return err
			})
			if err != nil {
				return fmt.Errorf("node %s does not reach its own %s: %w", n.Name, s.Name, err)
			}
		}
	}
	return nil
}

// whyNot asks an agent, as a user would, about a stranger and a server on its node.
func (t trial) whyNot(ctx context.Context) error {
	strangers, err := t.of(ctx, otherNamespace, "stranger")
	if err != nil {
		return err
	}
	servers, err := t.of(ctx, trialNamespace, "server")
	if err != nil {
		return err
	}
	for _, server := range servers {
		agent, err := t.agentPod(ctx, server.Spec.NodeName)
		if err != nil {
			return err
		}
		// It fails where the switch does otherwise than the policies say.
		from, to := otherNamespace+"/"+strangers[0].Name, trialNamespace+"/"+server.Name
		out, err := t.sluice(ctx, "exec", agent, "--", "sluicectl", "why", from, to, "8080/TCP")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		for _, want := range []string{": dropped\n", "isolated for ingress by trial/closed, trial/friends", "trial/friends spec.ingress[0]: no: ", "drops it in ingress_"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("sluicectl why %s %s does not say %q:\n%s", from, to, want, out)
			}
		}
	}
	return nil
}

// badPolicyTold looks for the Event where a user does, and for the problem in the status of
// each node that has a pod which the policy selects.
func (t trial) badPolicyTold(ctx context.Context) error {
	const field = "spec.ingress[0].from[0].ipBlock.cidr"
	err := await(ctx, "an Event of the policy", policyBound, func(ctx context.Context) error {
		out, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "get", "events", "--field-selector", "involvedObject.kind=NetworkPolicy,involvedObject.name="+unreadable)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, "BadPolicy") && strings.Contains(line, field) {
				progress("  %s", strings.TrimSpace(line))
				return nil
			}
		}
		return fmt.Errorf("kubectl get events has none with %s:\n%s", field, out)
	})
	if err != nil {
		return err
	}
	named := func(p string) bool {
		return strings.Contains(p, trialNamespace+"/"+unreadable) && strings.Contains(p, field)
	}
	return t.eachStatus(ctx, func(node string, s api.Status) error {
		if !slices.ContainsFunc(s.Problems, named) {
			return fmt.Errorf("node %s: its problems are %q", node, s.Problems)
		}
		return nil
	})
}
