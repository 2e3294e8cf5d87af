package agent

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/appctl"
)

// purger has the switch forget its cached flows after a change of policies, so that it
// binds at once. The revalidator would reach each of them: in milliseconds while they are few,
// 300 ms and more while they are 10,000. And Open vSwitch 3.1's userspace datapath was seen to keep one
// of two overlapping cached flows as it was, after both had changed.
type purger struct {
	log *slog.Logger
	ovs appctl.Client
	// kicks has the datapath_type of the bridge that has changed.
	kicks chan string
}

const (
	// purgeEvery is how often the cache is emptied at most: each packet after it costs an upcall.
	purgeEvery = time.Second
	purgeBound = 10 * time.Second
	// purgeFrom is how many cached flows the kernel's datapath must have: fewer the
	// revalidator reaches in some 5 ms.
	purgeFrom = 300
)

func newPurger(runDir string, log *slog.Logger) *purger {
	return &purger{log: log, ovs: appctl.Client{RunDir: runDir}, kicks: make(chan string, 1)}
}

// judgesOtherwise tells whether two sets differ in what policies say.
func judgesOtherwise(before, after []*render.Owned) bool {
	for len(before) > 0 || len(after) > 0 {
		switch c := compareHeads(before, after); {
		case c == 0:
			if before[0] != after[0] && (judges(before[0]) || judges(after[0])) {
				return true
			}
			before, after = before[1:], after[1:]
		case c < 0:
			if judges(before[0]) {
				return true
			}
			before = before[1:]
		default:
			if judges(after[0]) {
				return true
			}
			after = after[1:]
		}
	}
	return false
}

func compareHeads(a, b []*render.Owned) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return flows.CompareOwners(a[0].Owner, b[0].Owner)
}

// judges tells whether an owner has flows in the policies' tables. What is the same on every
// node is not meant.
func judges(o *render.Owned) bool {
	if o.Owner.Kind == flows.OwnerPipeline || o.Owner.Kind == flows.OwnerGateway {
		return false
	}
	return slices.ContainsFunc(o.Flows, func(f flows.Flow) bool {
		return f.Table >= flows.EgressAdmin && f.Table <= flows.IngressBaseline || f.Table >= flows.Policies && f.Table <= flows.Identities
	})
}

// kick asks for a purge. It does not wait.
func (p *purger) kick(datapath string) {
	select {
	case p.kicks <- datapath:
	default:
	}
}

// loop purges at once, and then not before purgeEvery is over.
func (p *purger) loop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case datapath := <-p.kicks:
			if err := p.purge(ctx, datapath); err != nil && ctx.Err() == nil {
				p.log.Warn("cached flows are left to the revalidator", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(purgeEvery):
		}
	}
}

var cachedFlows = regexp.MustCompile(`\(current (\d+)\)`)

func (p *purger) purge(ctx context.Context, datapath string) error {
	ctx, cancel := context.WithTimeout(ctx, purgeBound)
	defer cancel()
	if datapath != "netdev" {
		text, err := p.ovs.Call(ctx, "upcall/show")
		if err != nil {
			return err
		}
		most := 0
		for _, m := range cachedFlows.FindAllStringSubmatch(text, -1) {
			if n, err := strconv.Atoi(m[1]); err == nil {
				most = max(most, n)
			}
		}
		if most < purgeFrom {
			return nil
		}
	}
	_, err := p.ovs.Call(ctx, "revalidator/purge")
	return err
}
