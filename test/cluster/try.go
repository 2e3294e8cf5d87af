package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/test/lab"
)

// trial is a set of pods that try to reach each other.
type trial struct {
	place
	cache
	client *kubernetes.Clientset
	// pods is how many the Deployment has.
	pods int
	// root is the checkout.
	root string
	// before is what each node was like without pods, as far as that was looked at.
	before map[string][]string
}

// trialNamespace holds all of it, so that deleting it is all that is to be done.
const trialNamespace = "trial"

// trialObjects takes the image twice and the number of pods. Beside the Deployment
// there is one pod of each class of service.
const trialObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: trial}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: trial}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
        - name: pod
          image: %[1]s
          startupProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, failureThreshold: 60, timeoutSeconds: 10}
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
          livenessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 2, timeoutSeconds: 10}
---
apiVersion: v1
kind: Pod
metadata: {name: besteffort, namespace: trial}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: pod, image: "%[1]s", readinessProbe: {tcpSocket: {port: 8081}, periodSeconds: 1, timeoutSeconds: 10}}]
---
apiVersion: v1
kind: Pod
metadata: {name: burstable, namespace: trial}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: pod, image: "%[1]s", resources: {requests: {cpu: 10m}}, readinessProbe: {exec: {command: [ls, /]}, periodSeconds: 1, timeoutSeconds: 10}}]
---
apiVersion: v1
kind: Pod
metadata: {name: guaranteed, namespace: trial}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: pod, image: "%[1]s", resources: {limits: {cpu: 100m, memory: 64Mi}}}]
`

func tryCommand(p *place) *cobra.Command {
	pods := 6
	keep := false
	cmd := &cobra.Command{
		Use: "try", Short: "Start pods on all nodes, and prove that each reaches each", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.try(cmd.Context(), pods, keep) },
	}
	cmd.Flags().IntVar(&pods, "pods", pods, "how many pods the Deployment has")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the pods")
	return cmd
}

// trial is one on this cluster; root is the checkout.
func (p place) trial(root string) (trial, error) {
	c, err := openCache()
	if err != nil {
		return trial{}, err
	}
	client, err := p.client()
	return trial{place: p, cache: c, client: client, root: root}, err
}

// trialCommand makes a trial of a cluster that is up.
func trialCommand(p *place, use, short string, run func(trial, context.Context) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		t, err := p.trial("")
		if err != nil {
			return err
		}
		return run(t, cmd.Context())
	}}
}

// eachStatus looks at the status of each node's agent.
func (t trial) eachStatus(ctx context.Context, look func(node string, s api.Status) error) error {
	listing, err := t.listing()
	if err != nil {
		return err
	}
	for _, n := range listing.Nodes {
		status, err := t.agent(n.Name).Status(ctx)
		if err != nil {
			return err
		}
		if err := look(n.Name, status); err != nil {
			return err
		}
	}
	return nil
}

// try starts the pods, lets each try all, and deletes them.
func (p place) try(ctx context.Context, pods int, keep bool) error {
	t, err := p.trial("")
	if err != nil {
		return err
	}
	t.pods = pods
	if err := t.look(ctx); err != nil {
		return err
	}
	phases := []phase{
		{"pods Running and Ready", t.create},
		{"each pod tries each, its node, the API, outside", t.reach},
		{"logs, exec, port-forward", t.streams},
	}
	if !keep {
		phases = append(phases, phase{"pods deleted, nothing left on the nodes", t.delete})
	}
	return inTurn(ctx, phases)
}

func (t trial) create(ctx context.Context) error {
	if _, err := t.kubectl(ctx, t.cache, fmt.Appendf(nil, trialObjects, podImage, t.pods), "apply", "-f", "-"); err != nil {
		return err
	}
	return await(ctx, "pods", 3*time.Minute, func(ctx context.Context) error {
		pods, err := t.list(ctx)
		if err != nil {
			return err
		}
		if len(pods) != t.pods+3 {
			return fmt.Errorf("there are %d pods, not %d", len(pods), t.pods+3)
		}
		for _, pod := range pods {
			if !ready(pod) {
				return fmt.Errorf("pod %s on %s is not Ready: %s%s", pod.Name, pod.Spec.NodeName, pod.Status.Phase, t.events(ctx, pod))
			}
		}
		return nil
	})
}

func (t trial) list(ctx context.Context) ([]corev1.Pod, error) {
	list, err := t.client.CoreV1().Pods(trialNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func ready(pod corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// events are what kubelet last said of a pod.
func (t trial) events(ctx context.Context, pod corev1.Pod) string {
	list, err := t.client.CoreV1().Events(trialNamespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod.Name})
	if err != nil || len(list.Items) == 0 {
		return ""
	}
	return ": " + list.Items[len(list.Items)-1].Message
}

// reach lets each pod try all others, its own node, the API server and a machine that
// is no node.
func (t trial) reach(ctx context.Context) error {
	pods, err := t.list(ctx)
	if err != nil {
		return err
	}
	listing, err := t.listing()
	if err != nil {
		return err
	}
	outside := listing.Outside.Addresses[0].String()
	names := map[string]string{}
	var targets []string
	for _, pod := range pods {
		ip := pod.Status.PodIP
		names[ip] = pod.Name
		targets = append(targets, "icmp:"+ip, "tcp:"+ip+":8081", "udp:"+ip+":8081", "http:"+ip+":8080")
	}
	targets = append(targets, "icmp:"+outside, "tcp:"+outside+":8080", "udp:"+outside+":8080", fmt.Sprintf("tcp:%s:%d", outside, apiPort))
	failed := make([][]string, len(pods))
	tried := make([]int, len(pods))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, pod := range pods {
		g.Go(func() error {
			results, err := t.tryFrom(ctx, trialNamespace, pod.Name, append(slices.Clip(targets), "icmp:"+pod.Status.HostIP)...)
			if err != nil {
				return err
			}
			tried[i] = len(results)
			for _, r := range results {
				if why := wrong(r, names); why != "" {
					failed[i] = append(failed[i], fmt.Sprintf("%s on %s to %s by %s: %s", pod.Name, pod.Spec.NodeName, r.To, r.Protocol, why))
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	total := 0
	var all []string
	for i := range pods {
		total += tried[i]
		all = append(all, failed[i]...)
	}
	progress("  %d of %d reached, from %d pods on %d nodes", total-len(all), total, len(pods), len(listing.Nodes))
	if len(all) > 0 {
		return fmt.Errorf("not reached:\n%s", strings.Join(all, "\n"))
	}
	return nil
}

// wrong says what is wrong with an attempt; empty if nothing is. names are the pods'
// by address: the right one must have answered.
func wrong(r lab.ProbeResult, names map[string]string) string {
	if !r.Reached {
		return r.Error
	}
	ip, _, _ := strings.Cut(r.To, ":")
	if want, ok := names[ip]; ok && r.Protocol != "icmp" && r.AnsweredBy != want {
		return fmt.Sprintf("%q answered, not %q", r.AnsweredBy, want)
	}
	return ""
}
