package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// streams tries what goes through the API server and kubelet into a pod.
func (t trial) streams(ctx context.Context) error {
	pods, err := t.list(ctx)
	if err != nil {
		return err
	}
	var errs []error
	tried := map[string]bool{}
	for _, pod := range pods {
		if tried[pod.Spec.NodeName] {
			continue // one on each node
		}
		tried[pod.Spec.NodeName] = true
		log, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "logs", pod.Name)
		if want := pod.Name + " serves"; err == nil && !strings.Contains(log, want) {
			err = fmt.Errorf("logs of %s are %q, without %q", pod.Name, log, want)
		}
		out, execErr := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "exec", pod.Name, "--", "sh", "-c", "ip -o -4 addr show dev eth0")
		if execErr == nil && !strings.Contains(out, pod.Status.PodIP) {
			execErr = fmt.Errorf("in %s eth0 has %q, and not the address of its status, %s", pod.Name, out, pod.Status.PodIP)
		}
		errs = append(errs, err, execErr, t.portForward(ctx, pod.Name))
	}
	return errors.Join(append(errs, classes(pods), t.neverRestarted(ctx))...)
}

// classes sees that the pods named for a class of service are of it.
func classes(pods []corev1.Pod) error {
	var errs []error
	for _, pod := range pods {
		if class := strings.ToLower(string(pod.Status.QOSClass)); pod.Labels["app"] == "" && class != pod.Name {
			errs = append(errs, fmt.Errorf("pod %s is of the class of service %q", pod.Name, class))
		}
	}
	return errors.Join(errs...)
}

// neverRestarted sees that no liveness probe failed: kubelet would have restarted the container.
func (t trial) neverRestarted(ctx context.Context) error {
	pods, err := t.list(ctx)
	errs := []error{err}
	for _, pod := range pods {
		for _, c := range pod.Status.ContainerStatuses {
			if c.RestartCount > 0 {
				errs = append(errs, fmt.Errorf("%s on %s was restarted %d times%s", pod.Name, pod.Spec.NodeName, c.RestartCount, t.events(ctx, pod)))
			}
		}
	}
	return errors.Join(errs...)
}

// portForward asks the pod by a port of this machine.
func (t trial) portForward(ctx context.Context, pod string) error {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, t.kubernetes("kubectl"), "--kubeconfig", t.kubeconfig(), "-n", trialNamespace, "port-forward", pod, port+":8080")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	return await(ctx, "port-forward to "+pod, 10*time.Second, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", http.NoBody)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && strings.TrimSpace(string(body)) != pod {
			err = fmt.Errorf("%q answered, not %q", body, pod)
		}
		return err
	})
}
