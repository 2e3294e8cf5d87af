package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
)

// pictures are what commands show of a node's network. What they show of a node without
// pods is the same before and after it had some.
var pictures = [][]string{
	{"ip", "-br", "link"},
	{"ip", "-4", "route", "show", "table", "all"},
	{"sh", "-c", nftTables},
	{"ls", "/run/netns"},
	{"ovs-vsctl", "list-ports", "br-sluice"},
	{"ovs-ofctl", "-O", "OpenFlow15", "--no-stats", "--no-names", "dump-flows", "br-sluice"},
}

// nftTables are all tables but kube-proxy's, which writes them when it likes.
const nftTables = `nft list tables | grep -v ' kube-proxy$' | while read -r table; do nft --stateless list $table; done`

// picture is a node's network as lines, in an order of their own.
func (t trial) picture(ctx context.Context, n lab.NodeListing) ([]string, error) {
	var lines []string
	for _, argv := range pictures {
		out, err := t.run(ctx, n.Name, argv...)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			lines = append(lines, argv[0]+": "+strings.TrimSpace(line))
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// look keeps what the nodes are like before there are pods.
func (t *trial) look(ctx context.Context) error {
	pods, err := t.list(ctx)
	if err != nil || len(pods) > 0 {
		return err // with some of an earlier trial they are not as before
	}
	listing, err := t.listing()
	if err != nil {
		return err
	}
	t.before = map[string][]string{}
	for _, n := range listing.Nodes {
		if t.before[n.Name], err = t.picture(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// asBefore compares a node with what it was like when look looked, if it did.
func (t trial) asBefore(ctx context.Context, n lab.NodeListing) error {
	before, ok := t.before[n.Name]
	if !ok {
		return nil
	}
	now, err := t.picture(ctx, n)
	errs := []error{err}
	for _, line := range now {
		if !slices.Contains(before, line) {
			errs = append(errs, fmt.Errorf("it was not so before: %s", line))
		}
	}
	for _, line := range before {
		if !slices.Contains(now, line) {
			errs = append(errs, fmt.Errorf("it was so before: %s", line))
		}
	}
	return errors.Join(errs...)
}

// consistent returns when the invariants hold on all nodes.
func (t trial) consistent(ctx context.Context) error {
	listing, err := t.listing()
	if err != nil {
		return err
	}
	for _, n := range listing.Nodes {
		err := await(ctx, "node "+n.Name+" to be consistent", 30*time.Second, func(ctx context.Context) error { return t.invariants(ctx, n) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (t trial) invariants(ctx context.Context, n lab.NodeListing) error {
	broken, err := t.agent(n.Name).Check(ctx)
	errs := []error{err}
	for _, b := range broken {
		errs = append(errs, errors.New(b.String()))
	}
	return errors.Join(errs...)
}
