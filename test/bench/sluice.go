package main

import (
	"context"
	"fmt"

	"github.com/containernetworking/cni/libcni"

	"github.com/sluice-cni/sluice/test/lab"
)

// node is the lab's only node.
const node = "n1"

// sluice is Sluice as a contender, with what is known of its agent.
type sluice struct {
	*contender
	datapath    lab.Datapath
	agentSocket string
	agentLog    string
	stages      []stage
}

// startSluice starts a lab of one node without pods.
func (p place) startSluice(ctx context.Context, binDir string) (*sluice, error) {
	progress("starting lab %s", p.lab())
	l, err := lab.Up(ctx, lab.Options{Name: p.lab(), Nodes: 1, Objects: []lab.Object{}, BinDir: binDir})
	if err != nil {
		return nil, err
	}
	listing, err := l.List()
	if err != nil {
		return nil, err
	}
	n, ok := listing.Node(node)
	if !ok {
		return nil, fmt.Errorf("lab %q has no node %s", l.Name(), node)
	}
	files, err := libcni.ConfFiles(n.CNIConfDir, []string{".conflist"})
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no *.conflist in %s: %w", n.CNIConfDir, err)
	}
	list, err := libcni.NetworkConfFromFile(files[0])
	if err != nil {
		return nil, err
	}
	c, err := p.newContender("sluice", n.Netns, n.CNIBinDir, list)
	if err != nil {
		return nil, err
	}
	s := &sluice{contender: c, datapath: listing.Datapath, agentSocket: n.AgentSocket}
	s.agentLog, err = l.LogFile(node, lab.Agent)
	return s, err
}
