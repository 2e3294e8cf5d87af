package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/test/lab"
)

// delete deletes all pods of the trial, and looks whether the nodes are as before.
func (t trial) delete(ctx context.Context) error {
	// A namespace waits for half of the time that a pod's spec has for its end, if the pod is
	// still there when it looks.
	_, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "delete", "deployments", "--all", "--cascade=foreground", "--timeout=2m")
	if err != nil {
		return err
	}
	for _, name := range trialNamespaces {
		err := t.client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
		// Conflict: it is going already.
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	for _, name := range trialNamespaces {
		err := await(ctx, "namespace "+name+" to go", 2*time.Minute, func(ctx context.Context) error {
			_, err := t.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(err, fmt.Errorf("it is still there%s", t.notReadyPods(ctx)))
		})
		if err != nil {
			return err
		}
	}
	listing, err := t.listing()
	if err != nil {
		return err
	}
	for _, n := range listing.Nodes {
		// A pod's object goes when its containers have ended, its sandbox may go after: kubelet
		// looks once a minute for those that it has lost sight of.
		err := await(ctx, "node "+n.Name+" to be as before", 90*time.Second, func(ctx context.Context) error { return t.nothingLeft(ctx, n) })
		if err != nil {
			return err
		}
	}
	return nil
}

// nothingLeft looks for what a pod has on a node, a port, a cable, a namespace, and whether
// the node is consistent.
func (t trial) nothingLeft(ctx context.Context, n lab.NodeListing) error {
	status, err := t.agent(n.Name).Status(ctx)
	if err != nil {
		return err
	}
	var errs []error
	if !status.Ready {
		errs = append(errs, fmt.Errorf("its agent is not ready: %v", status.Problems))
	}
	staying := 0
	for _, port := range status.Ports {
		switch {
		case port.Kind != "pod":
		case strings.HasPrefix(port.Pod, "kube-system/"): // CoreDNS
			staying++
		default:
			errs = append(errs, fmt.Errorf("port %s of %s is left", port.Name, port.Pod))
		}
	}
	errs = append(errs, t.invariants(ctx, n), t.asBefore(ctx, n))
	spaces, err := t.run(ctx, n.Name, "ls", "/run/netns")
	if err != nil {
		return err
	}
	if names := strings.Fields(spaces); len(names) != staying {
		errs = append(errs, fmt.Errorf("network namespaces are left, for %d pods: %s", staying, names))
	}
	return errors.Join(errs...)
}

// agent is a node's, asked through the directory on this machine that the node sees
// as /run/sluice.
func (p place) agent(node string) *api.Client {
	return api.NewClient(filepath.Join(p.nodeDir(node), "run/sluice/agent.sock"))
}
