package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-cni/sluice/test/lab"
)

// probeBound is how long kubelet, the control plane and agents may take from what a probe
// sees to what a client sees.
const probeBound = time.Minute

// asked is how many connections tell whether a pod of four is among the backends: it would
// have none of them once in 100,000 times.
const asked = 40

// probes lets a pod say that it is not ready, and then that it is not alive: no client is
// led to it, until kubelet finds it well again.
func (t trial) probes(ctx context.Context) error {
	pods, err := t.of(ctx, trialNamespace, "backend")
	if err != nil {
		return err
	}
	pod := pods[0]
	// It was Ready, which kubelet says of a pod that it reaches.
	for _, step := range []struct {
		tell string
		in   bool
	}{{"/ready/off", false}, {"/ready/on", true}} {
		if err := t.tell(ctx, pod, step.tell); err != nil {
			return err
		}
		if err := t.among(ctx, pod, step.in); err != nil {
			return fmt.Errorf("%s was told %s: %w", pod.Name, step.tell, err)
		}
	}
	if err := t.tell(ctx, pod, "/alive/off"); err != nil {
		return err
	}
	err = await(ctx, "kubelet to restart "+pod.Name, probeBound, func(ctx context.Context) error {
		now, err := t.client.CoreV1().Pods(trialNamespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err == nil && now.Status.ContainerStatuses[0].RestartCount == 0 {
			err = errors.New("it was not")
		}
		return err
	})
	if err != nil {
		return err
	}
	return t.among(ctx, pod, true)
}

func (t trial) tell(ctx context.Context, pod corev1.Pod, path string) error {
	_, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "exec", pod.Name, "--", "wget", "-q", "-O", "-", "http://127.0.0.1:8080"+path)
	return err
}

// among waits until the API says that the pod is a Service's backend, or is none, and then
// until clients on each node are led to it, or are not.
func (t trial) among(ctx context.Context, pod corev1.Pod, in bool) error {
	err := await(ctx, "EndpointSlices to say so", probeBound, func(ctx context.Context) error {
		slices, err := t.client.DiscoveryV1().EndpointSlices(trialNamespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=backend"})
		if err != nil {
			return err
		}
		for _, slice := range slices.Items {
			for _, e := range slice.Endpoints {
				if e.TargetRef.Name == pod.Name && *e.Conditions.Ready != in {
					return fmt.Errorf("it is ready: %v", *e.Conditions.Ready)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	targets := slices.Repeat([]string{"tcp:backend:81"}, asked)
	return await(ctx, "clients to be led so", probeBound, func(ctx context.Context) error {
		return t.fromEach(ctx, trialNamespace, "client", targets, func(results []lab.ProbeResult) error {
			count := 0
			for _, r := range results {
				if !r.Reached {
					return fmt.Errorf("not reached: %s", r.Error)
				}
				if strings.TrimSpace(r.AnsweredBy) == pod.Name {
					count++
				}
			}
			if (count > 0) != in {
				return fmt.Errorf("%d of %d connections were led to it", count, len(results))
			}
			return nil
		})
	})
}
