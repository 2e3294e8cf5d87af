package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// noPodCIDR is what must be said, wherever a user may look, where nobody gives nodes their
// podCIDRs.
const noPodCIDR = "has no pod addresses: its Node object has no spec.podCIDRs (run kube-controller-manager with --allocate-node-cidrs"

// podCIDRs sees that a cluster without podCIDRs says just that, gives its nodes some by
// hand, and returns when they are Ready.
func (t trial) podCIDRs(ctx context.Context) error {
	nodes, err := t.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		if err := t.saysNoPodCIDR(ctx, n.Name); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	first := nodes.Items[0].Name
	if err := t.refusedForNoPodCIDR(ctx, first); err != nil {
		return fmt.Errorf("node %s: %w", first, err)
	}
	for i, n := range nodes.Items {
		patch := fmt.Sprintf(`{"spec": {"podCIDR": "10.244.%[1]d.0/24", "podCIDRs": ["10.244.%[1]d.0/24"]}}`, i)
		if _, err := t.client.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	if err := t.nodesReady(ctx, len(nodes.Items), time.Minute); err != nil {
		return err
	}
	if err := t.singleReady(ctx); err != nil {
		return err
	}
	log, err := t.agentLog(ctx, first)
	if err == nil && (!strings.Contains(log, "this node has pod addresses") || strings.Count(log, "agent started") != 1) {
		err = fmt.Errorf("node %s: its agent's log does not tell of pod addresses, or of another start:\n%s", first, log)
	}
	return errors.Join(err, t.deleteSingle(ctx))
}

// saysNoPodCIDR looks at status, log and the readiness of the agent's own pod.
func (t trial) saysNoPodCIDR(ctx context.Context, node string) error {
	return await(ctx, "status, log and event to say so", time.Minute, func(ctx context.Context) error {
		status, err := t.agent(node).Status(ctx)
		if err != nil {
			return err
		}
		if status.Ready || len(status.Problems) != 1 || !strings.Contains(status.Problems[0], noPodCIDR) {
			return fmt.Errorf("ready: %v, problems %q", status.Ready, status.Problems)
		}
		log, err := t.agentLog(ctx, node)
		if err != nil {
			return err
		}
		if !strings.Contains(log, noPodCIDR) {
			return fmt.Errorf("the agent's log does not say so:\n%s", log)
		}
		name, err := t.agentPod(ctx, node)
		if err != nil {
			return err
		}
		return t.eventSays(ctx, "kube-system", name)
	})
}

// eventSays looks for what kubelet says of a pod.
func (t trial) eventSays(ctx context.Context, namespace, pod string) error {
	list, err := t.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
	if err != nil {
		return err
	}
	var messages []string
	for _, e := range list.Items {
		messages = append(messages, e.Message)
	}
	if !slices.ContainsFunc(messages, func(m string) bool { return strings.Contains(m, noPodCIDR) }) {
		return fmt.Errorf("no event of pod %s/%s says so: %q", namespace, pod, messages)
	}
	return nil
}

// refusedForNoPodCIDR looks at what the CNI executable answers, where the node has the
// network configuration from an earlier time: to an ADD, and, through STATUS and
// kubelet, to a pod that waits. That pod stays.
func (t trial) refusedForNoPodCIDR(ctx context.Context, node string) error {
	config, err := t.client.CoreV1().ConfigMaps("kube-system").Get(ctx, "sluice", metav1.GetOptions{})
	if err != nil {
		return err
	}
	const name = "10-sluice.conflist"
	if _, err := t.run(ctx, node, "sh", "-c", `mkdir -p /etc/cni/net.d && printf %s "$1" >"/etc/cni/net.d/$0"`, name, config.Data[name]); err != nil {
		return err
	}
	if err := t.addRefused(ctx, node); err != nil {
		return err
	}
	if err := t.ensureNamespace(ctx); err != nil {
		return err
	}
	if err := t.createSingle(ctx, node); err != nil {
		return err
	}
	return await(ctx, "kubelet to say so", time.Minute, func(ctx context.Context) error {
		n, err := t.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
		if i < 0 || n.Status.Conditions[i].Status == corev1.ConditionTrue || !strings.Contains(n.Status.Conditions[i].Message, noPodCIDR) {
			return fmt.Errorf("the node's conditions do not say so: %+v", n.Status.Conditions)
		}
		return t.eventSays(ctx, trialNamespace, singleName)
	})
}

// addRefused runs the CNI executable as a runtime does.
func (t trial) addRefused(ctx context.Context, node string) error {
	const conf = `{"cniVersion": "1.1.0", "name": "sluice", "type": "sluice"}`
	out, err := t.run(ctx, node, "env", "CNI_COMMAND=ADD", "CNI_CONTAINERID=none", "CNI_NETNS=/run/netns/none", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
		"sh", "-c", `printf %s "$0" | /opt/cni/bin/sluice`, conf)
	if err == nil {
		return fmt.Errorf("ADD succeeded: %s", out)
	}
	var answer struct {
		Code uint
		Msg  string
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return fmt.Errorf("ADD answered %q: %w", out, err)
	}
	const tryAgain = 11 // the CNI specification's "try again later"
	if answer.Code != tryAgain || !strings.Contains(answer.Msg, noPodCIDR) {
		return fmt.Errorf("ADD was refused with code %d: %s", answer.Code, answer.Msg)
	}
	return nil
}
