package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func disturbCommand(p *place) *cobra.Command {
	var o options
	pods := 6
	cmd := &cobra.Command{
		Use: "disturb", Short: "Restart and replace agents, kubelets and containerds under pods, and prove that nothing is lost", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(); err != nil {
				return err
			}
			return p.disturb(cmd.Context(), o.root, pods)
		},
	}
	cmd.Flags().StringVar(&o.root, "root", ".", "the checkout")
	cmd.Flags().IntVar(&pods, "pods", pods, "how many pods the Deployment has")
	return cmd
}

// uninstalled is the disturbance after which there is nobody to be asked.
const uninstalled = "uninstalled: nothing of Sluice is left"

// disturb is what a cluster goes through in its life. Each disturbance begins and
// ends with the pods Ready.
func (p place) disturb(ctx context.Context, root string, pods int) error {
	t, err := p.trial(root)
	if err != nil {
		return err
	}
	t.pods = pods
	if err := t.look(ctx); err != nil {
		return err
	}
	var watch stopwatch
	for _, d := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"pods Running and Ready", t.create},
		{"agents rolled out anew: nothing is lost", t.rollout},
		{"agents of another pipeline rolled out, and back", t.upgrade},
		{"two Nodes with one podCIDR: the loser is told", t.twins},
		{"no agent: NotReady, pods go on, deletes end", t.withoutAgent},
		{"kubelets killed while pods start", func(ctx context.Context) error { return t.killedWhileStarting(ctx, "kubelet") }},
		{"kubelets killed while pods go", func(ctx context.Context) error { return t.killedWhileDeleting(ctx, "kubelet") }},
		{"containerds killed while pods start", func(ctx context.Context) error { return t.killedWhileStarting(ctx, "containerd") }},
		{"containerds killed while pods go", func(ctx context.Context) error { return t.killedWhileDeleting(ctx, "containerd") }},
		{"pods deleted by force, nothing left on nodes", t.force},
		{"pods deleted, nothing left on the nodes", t.delete},
		{uninstalled, t.uninstall},
		{"installed again", t.reinstall},
	} {
		err := watch.phase(d.name, func() error {
			if err := d.do(ctx); err != nil || d.name == uninstalled {
				return err
			}
			return t.consistent(ctx)
		})
		if err != nil {
			return err
		}
	}
	progress("\n%s\n", &watch)
	return nil
}

// holding runs do while a pod of each node pings one of another node, and one of its own,
// every 10 ms and holds a TCP connection to it.
func (t trial) holding(ctx context.Context, do func(context.Context) error) error {
	pods, err := t.list(ctx)
	if err != nil {
		return err
	}
	byNode := map[string][]corev1.Pod{}
	for _, pod := range pods {
		if pod.Labels["app"] == "web" {
			byNode[pod.Spec.NodeName] = append(byNode[pod.Spec.NodeName], pod)
		}
	}
	var holds []holding
	for name, here := range byNode {
		for other, there := range byNode {
			from, to := here[0], there[len(there)-1]
			b, err := t.inPod(ctx, from, "hold", to.Status.PodIP)
			if err != nil {
				return err
			}
			defer b.kill()
			holds = append(holds, holding{b, to, name == other})
		}
	}
	errs := []error{do(ctx)}
	for _, h := range holds {
		errs = append(errs, h.end())
	}
	return errors.Join(errs...)
}

// holding is `pod hold` in a pod, to another one.
type holding struct {
	*background
	to corev1.Pod
	// same says that both are on one node.
	same bool
}

// end ends it, and fails if anything was lost.
func (b holding) end() error {
	var h struct {
		Pings, Lost, Beats int
		LostAt             []time.Time
		Slowest            time.Duration
		Broken             string
	}
	if err := b.background.end(&h); err != nil {
		return err
	}
	where := "to another node"
	if b.same {
		where = "on one node"
	}
	progress("  %s: %d pings, %d lost; %d beats of a TCP connection, the slowest %s", where, h.Pings, h.Lost, h.Beats, h.Slowest.Round(time.Millisecond))
	if h.Lost > 0 || h.Broken != "" {
		return fmt.Errorf("%s on %s to %s on %s: %d of %d pings lost, sent at %s; connection: %s", b.pod.Name, b.pod.Spec.NodeName, b.to.Name, b.to.Spec.NodeName, h.Lost, h.Pings, h.LostAt, h.Broken)
	}
	return nil
}

func (t trial) rollout(ctx context.Context) error {
	return t.holding(ctx, func(ctx context.Context) error {
		if _, err := t.sluice(ctx, "rollout", "restart", "ds/sluice"); err != nil {
			return err
		}
		_, err := t.sluice(ctx, "rollout", "status", "ds/sluice", "--timeout=60s")
		return err
	})
}

func (t trial) sluice(ctx context.Context, args ...string) (string, error) {
	return t.kubectl(ctx, t.cache, nil, append([]string{"-n", "kube-system"}, args...)...)
}

// withoutAgent lets no agent run for a while.
func (t trial) withoutAgent(ctx context.Context) error {
	if err := t.stopAgents(ctx); err != nil {
		return err
	}
	err := t.holding(ctx, func(ctx context.Context) error {
		return errors.Join(t.notReady(ctx), t.deleteOne(ctx))
	})
	if err := errors.Join(err, t.startAgents(ctx)); err != nil {
		return err
	}
	return t.create(ctx)
}

// nowhere is a label that no node has: a DaemonSet that selects it has no pods.
const nowhere = `{"spec":{"template":{"spec":{"nodeSelector":{"sluice.test/nowhere":%s}}}}}`

// stopAgents leaves all nodes without an agent, with all else of Sluice in place.
func (t trial) stopAgents(ctx context.Context) error {
	if _, err := t.sluice(ctx, "patch", "ds", "sluice", "--type", "merge", "-p", fmt.Sprintf(nowhere, `"true"`)); err != nil {
		return err
	}
	_, err := t.sluice(ctx, "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=sluice", "--timeout=60s")
	return err
}

// startAgents returns when they are there again, and the nodes Ready.
func (t trial) startAgents(ctx context.Context) error {
	if _, err := t.sluice(ctx, "patch", "ds", "sluice", "--type", "merge", "-p", fmt.Sprintf(nowhere, "null")); err != nil {
		return err
	}
	if _, err := t.sluice(ctx, "rollout", "status", "ds/sluice", "--timeout=60s"); err != nil {
		return err
	}
	nodes, err := t.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	return t.nodesReady(ctx, len(nodes.Items), time.Minute)
}

// notReady returns when the nodes say, in Sluice's words, why they are not Ready.
func (t trial) notReady(ctx context.Context) error {
	const ours = "cannot reach the Sluice agent"
	return await(ctx, "nodes to be NotReady", 30*time.Second, func(ctx context.Context) error {
		nodes, err := t.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, n := range nodes.Items {
			for _, c := range n.Status.Conditions {
				if c.Type == corev1.NodeReady && (c.Status == corev1.ConditionTrue || !strings.Contains(c.Message, ours)) {
					return fmt.Errorf("node %s: Ready is %s: %s", n.Name, c.Status, c.Message)
				}
			}
		}
		return nil
	})
}

// deleteOne deletes a pod and waits until it is gone.
func (t trial) deleteOne(ctx context.Context) error {
	_, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "delete", "pod", "besteffort", "--timeout=20s")
	return err
}
