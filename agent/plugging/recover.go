package plugging

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/ovs/db"
)

// recoverCables writes the rows of cables that OVSDB knows nothing of: it was lost, and
// pods live on. Each cable's alias is a copy of its lease. Nothing is plugged in before
// this is done, so no address of theirs is given to others.
func (p *Plugger) recoverCables(ctx context.Context, ovsdb *db.Client) error {
	ends, err := plug.HostEnds()
	if err != nil {
		return err
	}
	rows := map[string]bool{}
	for _, l := range p.attach.all() {
		rows[l.Port] = true
	}
	var paths map[uint64]string
	var errs []error
	for _, end := range ends {
		if rows[end.Name] || end.Abandoned() {
			continue
		}
		l, err := lease.ParseAlias(end.Name, end.Alias)
		if err != nil {
			p.log.Warn("a cable without a row does not say whose it is; it is left alone", "port", end.Name, "error", err)
			continue
		}
		if paths == nil {
			paths = namespaces()
		}
		l.NetNS = paths[l.NetNSInode]
		p.recoverHostPorts(&l)
		if l.PodName == "" && l.PodUID != "" {
			p.log.Warn("a cable's pod is known by its uid alone: no policy can select it", "port", end.Name, "uid", l.PodUID)
		}
		p.log.Warn("a pod's row is lost; it is written again from its cable", "port", l.Port, "holder", l.Holder(), "addresses", l.Addresses)
		if err := putBack(ctx, ovsdb, l); err != nil && !errors.Is(err, db.ErrExists) {
			errs = append(errs, fmt.Errorf("recover port %s of %s: %w", l.Port, l.Holder(), err))
			continue
		}
		p.attach.update(l)
	}
	return errors.Join(errs...)
}

// recoverHostPorts asks the Pod for those for which the alias has had no room.
func (p *Plugger) recoverHostPorts(l *lease.Lease) {
	if !l.HostPortsOfPod {
		return
	}
	pod, there, _ := p.node.Pod(l.PodNamespace, l.PodName)
	if there && l.Of(pod) {
		l.HostPorts, l.HostPortsOfPod = pod.HostPorts, false
		return
	}
	p.log.Warn("a pod's host ports are lost: its cable has had no room for them, and its Pod is not known", "port", l.Port, "holder", l.Holder())
}

// namespaceDirs are where runtimes keep the files of network namespaces.
var namespaceDirs = []string{"/run/netns", "/var/run/netns", "/run/docker/netns"}

// namespaces are the paths of the network namespaces, by inode.
func namespaces() map[uint64]string {
	out := map[uint64]string{}
	for _, dir := range namespaceDirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // a runtime that is not here
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if number := inode(path); number != 0 && out[number] == "" {
				out[number] = path
			}
		}
	}
	return out
}
