package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
)

func (p place) listing() (*lab.Listing, error) {
	l, err := lab.Open(p.lab(), nil)
	if err != nil {
		return nil, err
	}
	return l.List()
}

// uninstall removes Sluice as its manifests say, and looks for what it left.
func (t trial) uninstall(ctx context.Context) error {
	if err := t.removeDNS(ctx, t.cache); err != nil { // no pod may be there
		return err
	}
	manifest := func(name string) string { return filepath.Join(t.root, "build/manifests", name) }
	for _, args := range [][]string{
		{"delete", "-f", manifest("sluice.yaml"), "--wait"},
		{"-n", "kube-system", "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=sluice", "--timeout=60s"},
		{"apply", "-f", manifest("uninstall.yaml")},
		{"-n", "kube-system", "rollout", "status", "ds/sluice-uninstall", "--timeout=60s"},
		{"delete", "-f", manifest("uninstall.yaml"), "--wait"},
	} {
		if _, err := t.kubectl(ctx, t.cache, nil, args...); err != nil {
			return err
		}
	}
	listing, err := t.listing()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range listing.Nodes {
		for _, look := range []string{"ls /run/sluice", "ls /etc/cni/net.d", "ip -o link", "ip route", "nft list ruleset", "ovs-vsctl list-br"} {
			out, err := t.run(ctx, n.Name, strings.Fields(look)...)
			errs = append(errs, err)
			for line := range strings.Lines(out) {
				if strings.Contains(line, "sluice") || strings.Contains(line, "cni.sock") || strings.Contains(line, "10.244.") {
					errs = append(errs, fmt.Errorf("node %s: %s still shows %q", n.Name, look, strings.TrimSpace(line)))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// reinstall installs it once more, on nodes that have been nodes before.
func (t trial) reinstall(ctx context.Context) error {
	listing, err := t.listing()
	if err != nil {
		return err
	}
	plane := controlPlane{t.place, t.cache, listing.Outside.Netns, listing.Outside.Addresses[0], false}
	// Kubelet says that there is no network once it has looked again.
	time.Sleep(2 * time.Second)
	if err := t.install(ctx, t.cache, filepath.Join(t.root, "build/manifests/sluice.yaml"), plane, len(listing.Nodes)); err != nil {
		return err
	}
	if err := t.installDNS(ctx, t.cache); err != nil {
		return err
	}
	if err := t.look(ctx); err != nil { // the bridge is another one
		return err
	}
	return errors.Join(t.create(ctx), t.reach(ctx), t.delete(ctx))
}
