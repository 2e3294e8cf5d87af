package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// twinName is a Node that nobody runs. It has no label kubernetes.io/os: no DaemonSet
	// wants to be on it.
	twinName = "twin"
	// twinAddress is in the underlay, and no machine's.
	twinAddress = "10.9.0.200"
	// twinBound is how long an agent may take to see, settle and tell of it.
	twinBound = 20 * time.Second
)

// twins makes a second Node with a node's podCIDR, of which no kubelet has ever reported: it
// loses, and no packet is lost with it. Ready it wins, as the newer; when it goes the podCIDR
// returns. Each loser is told by an Event.
func (t trial) twins(ctx context.Context) (err error) {
	list, err := t.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if len(list.Items) < 2 {
		return errors.New("one node has no peer that could be misled: start the cluster with more")
	}
	s := twinState{trial: t, first: list.Items[0], other: list.Items[1].Name}
	s.podCIDR = s.first.Spec.PodCIDR
	if s.flows, err = t.tables(ctx); err != nil {
		return err
	}
	twin := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: twinName},
		Spec:       corev1.NodeSpec{PodCIDR: s.podCIDR, PodCIDRs: []string{s.podCIDR}},
	}
	err = t.holding(ctx, func(ctx context.Context) error {
		if _, err := t.client.CoreV1().Nodes().Create(ctx, twin, metav1.CreateOptions{}); err != nil {
			return err
		}
		return s.settled(ctx, twinName, s.first.Name, address(s.first))
	})
	if err == nil {
		err = s.twinReady(ctx)
	}
	// Deleted in any case: a podCIDR has gone to nobody.
	if err := errors.Join(err, t.client.CoreV1().Nodes().Delete(context.WithoutCancel(ctx), twinName, metav1.DeleteOptions{})); err != nil {
		return err
	}
	if err := await(ctx, "the podCIDR to return", twinBound, s.asBefore); err != nil {
		return err
	}
	// Kubelet could not probe the pods of a node without a podCIDR.
	return errors.Join(t.create(ctx), t.reach(ctx))
}

// twinState is what twins looks at.
type twinState struct {
	trial
	first   corev1.Node
	other   string
	podCIDR string
	// flows are each node's before there was another Node.
	flows map[string][]string
}

// address is where the tunnel to a node ends.
func address(n corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}

// twinReady says what a kubelet would, and waits until the Node has the podCIDR.
func (s twinState) twinReady(ctx context.Context) error {
	twin, err := s.client.CoreV1().Nodes().Get(ctx, twinName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	twin.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: twinAddress}}
	now := metav1.Now()
	twin.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Trial", LastHeartbeatTime: now, LastTransitionTime: now,
	}}
	if _, err := s.client.CoreV1().Nodes().UpdateStatus(ctx, twin, metav1.UpdateOptions{}); err != nil {
		return err
	}
	return s.settled(ctx, s.first.Name, twinName, twinAddress)
}

// settled waits until the loser has an Event, all agents name the conflict, and the other
// node tunnels to the winner.
func (s twinState) settled(ctx context.Context, loser, winner, winnerAddress string) error {
	return await(ctx, "Node "+winner+" to have "+s.podCIDR, twinBound, func(ctx context.Context) error {
		conflict := fmt.Sprintf("podCIDR %s: node %s loses it to node %s", s.podCIDR, loser, winner)
		for _, node := range []string{s.first.Name, s.other} {
			status, err := s.agent(node).Status(ctx)
			if err != nil {
				return err
			}
			if !slices.Contains(status.Problems, conflict) {
				return fmt.Errorf("node %s: its problems are %q, not %q", node, status.Problems, conflict)
			}
		}
		tables, err := s.tables(ctx)
		if err != nil {
			return err
		}
		route := func(flow string) bool {
			return strings.Contains(flow, "nw_dst="+s.podCIDR) && strings.Contains(flow, "set_field:"+winnerAddress+"->tun_dst")
		}
		if !slices.ContainsFunc(tables[s.other], route) {
			return fmt.Errorf("node %s has no tunnel to %s for %s", s.other, winnerAddress, s.podCIDR)
		}
		return s.told(ctx, loser, winner)
	})
}

// told looks for the Event where a user does.
func (s twinState) told(ctx context.Context, loser, winner string) error {
	out, err := s.kubectl(ctx, s.cache, nil, "-n", metav1.NamespaceDefault, "get", "events", "--field-selector", "involvedObject.kind=Node,involvedObject.name="+loser)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("podCIDR %s is Node %s's, which comes first; this Node is without it", s.podCIDR, winner)
	for line := range strings.Lines(out) {
		if strings.Contains(line, "PodCIDRTaken") && strings.Contains(line, note) {
			progress("  %s", strings.TrimSpace(line))
			return nil
		}
	}
	return fmt.Errorf("kubectl get events does not have %q of Node %s:\n%s", note, loser, out)
}

// asBefore is true of nodes that know of no conflict and have the flows that they had.
func (s twinState) asBefore(ctx context.Context) error {
	for _, node := range []string{s.first.Name, s.other} {
		status, err := s.agent(node).Status(ctx)
		if err != nil {
			return err
		}
		if len(status.Problems) > 0 {
			return fmt.Errorf("node %s: its problems are %q", node, status.Problems)
		}
	}
	tables, err := s.tables(ctx)
	if err == nil && !maps.EqualFunc(tables, s.flows, slices.Equal[[]string]) {
		err = errors.New("the flows are not what they were")
	}
	return err
}
