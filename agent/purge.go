package agent

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/appctl"
)

// purger has the switch forget its cached flows after a change of policies, and after a backend of a Service
// has gone, so that it binds at once. The revalidator would reach each of them: in milliseconds while they are few,
// 300 ms and more while they are 10,000. And Open vSwitch 3.1's userspace datapath was seen to keep one
// of two overlapping cached flows as it was, after both had changed.
type purger struct {
	log *slog.Logger
	ovs appctl.Client
	mu  sync.Mutex
	// datapath is the type of the bridge that has changed; wanted are the changes whose purge is due.
	datapath string
	wanted   [kindsAnew]bool
	kicks    chan struct{}
}

// anew is what has changed of what policies say, and of whom Services give.
type anew int

const (
	nothingAnew anew = iota
	// peersAnew: who the other ends are. In a large cluster that is always so.
	peersAnew
	// backendsAnew: a Service gives something no more.
	backendsAnew
	// policiesAnew: policies, or whom they select.
	policiesAnew
	kindsAnew = iota - 1
)

const (
	// purgeEvery is how often the cache is emptied at most for each kind of change: each packet after it
	// costs an upcall. Peers and backends that come and go keep no policy waiting.
	purgeEvery = time.Second
	purgeBound = 10 * time.Second
	// purgeFrom is how many cached flows the kernel's datapath must have: fewer the
	// revalidator reaches in some 5 ms.
	purgeFrom = 300
)

func newPurger(runDir string, log *slog.Logger) *purger {
	return &purger{log: log, ovs: appctl.Client{RunDir: runDir}, kicks: make(chan struct{}, 1)}
}

// bindsOtherwise tells in what two sets differ of what must bind at once.
func bindsOtherwise(before, after []*render.Owned) (what anew) {
	flows.EachChange(before, after, func(was, is *render.Owned) {
		switch {
		case was.Owner.Kind == flows.OwnerService:
			if givesNoMore(was.Groups, is.Groups) {
				what = max(what, backendsAnew)
			}
		case !judges(was) && !judges(is):
		case max(was.Owner.Kind, is.Owner.Kind) == flows.OwnerIdentity:
			what = max(what, peersAnew)
		default:
			what = policiesAnew
		}
	})
	return what
}

// givesNoMore tells whether a bucket of a Service's groups has gone: its number is the backend's. Both are in
// the order of their numbers.
func givesNoMore(was, is []flows.Group) bool {
	for _, g := range was {
		i, ok := slices.BinarySearchFunc(is, g, flows.CompareGroups)
		if !ok {
			return true
		}
		left := map[uint32]bool{}
		for _, b := range is[i].Buckets {
			left[b.ID] = true
		}
		if slices.ContainsFunc(g.Buckets, func(b flows.Bucket) bool { return !left[b.ID] }) {
			return true
		}
	}
	return false
}

// judges tells whether an owner has flows in the policies' tables. What is the same on every
// node is not meant.
func judges(o *render.Owned) bool {
	if o.Owner.Kind == flows.OwnerPipeline || o.Owner.Kind == flows.OwnerGateway {
		return false
	}
	return slices.ContainsFunc(o.Flows, func(f flows.Flow) bool {
		return f.Table.Judges()
	})
}

// kick asks for a purge. It does not wait.
func (p *purger) kick(datapath string, what anew) {
	if what == nothingAnew {
		return
	}
	p.mu.Lock()
	p.datapath, p.wanted[what-1] = datapath, true
	p.mu.Unlock()
	poke(p.kicks)
}

// loop purges at once, and then not before purgeEvery is over.
func (p *purger) loop(ctx context.Context) error {
	var last [kindsAnew]time.Time
	for {
		datapath, kinds, wait := p.due(last, time.Now())
		if len(kinds) > 0 {
			if err := p.purge(ctx, datapath); err != nil && ctx.Err() == nil {
				p.log.Warn("cached flows are left to the revalidator", "error", err)
			}
			for _, kind := range kinds {
				last[kind] = time.Now()
			}
			continue
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.kicks:
		case <-timer:
		}
	}
}

// due are the kinds of changes, from 0, that a purge is for now, and how long to wait if there is none; zero is
// until there is a kick. What is purged for one kind is for those before it, too.
func (p *purger) due(last [kindsAnew]time.Time, now time.Time) (datapath string, kinds []int, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for kind := len(last) - 1; kind >= 0; kind-- {
		left := purgeEvery - now.Sub(last[kind])
		switch {
		case !p.wanted[kind]:
		case left <= 0:
			for k := kind; k >= 0; k-- {
				kinds, p.wanted[k] = append(kinds, k), false
			}
			return p.datapath, kinds, 0
		case wait == 0 || left < wait:
			wait = left
		}
	}
	return p.datapath, nil, wait
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
