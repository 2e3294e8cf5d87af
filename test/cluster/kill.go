package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// killedWhileStarting restarts the Deployment's pods and kills a service on each node
// meanwhile; in the end each pod must reach each.
func (t trial) killedWhileStarting(ctx context.Context, service string) error {
	if _, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "delete", "pods", "--all", "--wait=false"); err != nil {
		return err
	}
	if _, err := t.kubectl(ctx, t.cache, fmt.Appendf(nil, trialObjects, podImage, t.pods+4), "apply", "-f", "-"); err != nil {
		return err
	}
	if err := t.killEverywhere(ctx, service); err != nil {
		return err
	}
	more := t
	more.pods += 4
	if err := more.recreate(ctx); err != nil {
		return err
	}
	if err := more.reach(ctx); err != nil {
		return err
	}
	return t.recreate(ctx)
}

// killedWhileDeleting deletes all pods and kills a service on each node meanwhile; in the end
// the nodes must be as before.
func (t trial) killedWhileDeleting(ctx context.Context, service string) error {
	if err := t.client.CoreV1().Namespaces().Delete(ctx, trialNamespace, metav1.DeleteOptions{}); err != nil {
		return err
	}
	if err := t.killEverywhere(ctx, service); err != nil {
		return err
	}
	err := t.delete(ctx)
	if err != nil && service == "containerd" {
		if swept, sweepErr := t.sweepEmpty(ctx); swept == 0 || sweepErr != nil {
			return errors.Join(err, sweepErr)
		}
		err = t.delete(ctx)
	}
	if err != nil {
		return err
	}
	return t.create(ctx)
}

// sweepEmpty removes network namespaces that have nothing in them, and says so. containerd,
// killed when it has made one and not yet noted it (RunPodSandbox), leaves it: no
// plugin was ever asked to plug it in.
func (t trial) sweepEmpty(ctx context.Context) (swept int, err error) {
	listing, err := t.listing()
	if err != nil {
		return 0, err
	}
	for _, n := range listing.Nodes {
		names, err := t.run(ctx, n.Name, "ls", "/run/netns")
		if err != nil {
			return swept, err
		}
		for name := range strings.FieldsSeq(names) {
			links, err := t.run(ctx, n.Name, "ip", "-netns", name, "-oneline", "link")
			if err != nil {
				return swept, err
			}
			if strings.Count(links, "\n") != 1 || !strings.Contains(links, ": lo:") {
				continue
			}
			progress("  node %s: containerd left the empty network namespace %s", n.Name, name)
			if _, err := t.run(ctx, n.Name, "ip", "netns", "delete", name); err != nil {
				return swept, err
			}
			swept++
		}
	}
	return swept, nil
}

// killEverywhere kills a service of each node, again and again for more than a second.
func (t trial) killEverywhere(ctx context.Context, service string) error {
	nodes, err := t.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		killed := 0
		for range 4 {
			time.Sleep(300 * time.Millisecond)
			if t.killService(n.Name, service) {
				killed++
			}
		}
		if killed == 0 {
			return fmt.Errorf("node %s: no %s was there to be killed", n.Name, service)
		}
	}
	return nil
}

// recreate waits until all pods are Ready; those without an owner, which deleted ones
// are not replaced by others, are made again.
func (t trial) recreate(ctx context.Context) error {
	return await(ctx, "pods", 3*time.Minute, func(ctx context.Context) error {
		bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return t.create(bounded)
	})
}

// force deletes pods without waiting for kubelet: first those that others replace at once,
// then all, after which the nodes must be as before.
func (t trial) force(ctx context.Context) error {
	for _, what := range []string{"pods", "deployments,replicasets,pods"} {
		if _, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "delete", what, "--all", "--grace-period=0", "--force"); err != nil {
			return err
		}
		if what == "pods" {
			if err := t.recreate(ctx); err != nil {
				return err
			}
		}
	}
	if err := t.delete(ctx); err != nil {
		return err
	}
	return t.create(ctx)
}

// killService kills a service of a node, as a crash would, and tells whether it ran; the
// node starts it again.
func (p place) killService(node, service string) bool {
	first := p.pid(node)
	// Each thread has children of its own.
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", first))
	if err != nil {
		return false
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(children)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				continue
			}
			name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if err == nil && strings.TrimSpace(string(name)) == service {
				return unix.Kill(pid, unix.SIGKILL) == nil
			}
		}
	}
	return false
}
