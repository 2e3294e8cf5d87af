package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/discovery"
	"github.com/sluice-cni/sluice/agent/forget"
	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/agent/plugging"
	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/kube"
	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/cni/wire/server"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// Agent is one node's daemon.
type Agent struct {
	cfg Config
	log *slog.Logger
	src source.Source

	rec      *reconcile.Reconciler // used by the pass loop, and to dump by the API under recMu
	renderer render.Renderer       // used by the pass loop
	host     *host.Host            // used by the host loop
	// recMu keeps the switch to one caller.
	recMu sync.Mutex

	// kicks asks for a pass, hostKicks for a look at the host's own state, ruleKicks for
	// one at its nftables rules, too.
	kicks, hostKicks, ruleKicks chan struct{}
	// cables are those of pods that have moved.
	cables *host.Moved

	plugger    *plugging.Plugger
	neighbours tunnelNeighbours
	discovery  *discovery.Responder
	restore    restore // used by the pass loop
	memory     *memory
	conflicts  *conflicts
	purger     *purger
	forgets    *forget.Ledger
	// kept and bindsAnew are the pass's: what is known of pods that have gone, and what of
	// policies and Services has changed since cached flows were last purged.
	kept      keeper
	bindsAnew anew
	// servicesAnew is the pass's: Services may have changed since what is owed was judged.
	servicesAnew bool
	// services are those that the pass is about to put in force.
	services service.Result
	// dbChanged is set when OVSDB holds something that no pass has looked at yet.
	dbChanged atomic.Bool

	mu       sync.Mutex
	db       *db.Client // nil while ovsdb-server is away
	dbError  error
	pass     passResult
	want     uint64        // number of the last pass asked for
	done     chan struct{} // closed and made anew after each pass
	hostSide hostSide      // what the host must hold, from the last pass that went well
	hostDone string        // the text of the hostSide that was put in place last
	hostErr  error
	hostTold chan struct{} // closed and made anew after each look at the host's side
	repairs  uint64        // of the host
	quarrels []string
	started  time.Time
	underlay underlay // as last looked at
	tracks   string   // the datapath_type of what is to be forgotten
	deaf     string   // why the switch forwards nothing new, empty if it does
}

// passResult is what the last pass found.
type passResult struct {
	number   uint64
	state    state.State
	snapshot source.Snapshot
	result   render.Result
	hostSide hostSide
	// refused are the owners that the switch does not take.
	refused []reconcile.RefusedError
	// installed is the version of the input that is in force, since when.
	installed string
	since     time.Time
	// doubted is since when the input cannot be read, or be right; zero if it can.
	doubted   time.Time
	flows     int
	repaired  uint64
	connected bool
	// connection counts how often the switch was connected to.
	connection uint64
	problems   []string
	// gone are the pods without an object that are plugged in here.
	gone []state.Pod
	// err is why the flows are not those of state.
	err error
}

// New makes an agent; Run runs it.
func New(cfg Config, log *slog.Logger) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Agent{
		cfg: cfg, log: log, host: host.New(log),
		kicks: make(chan struct{}, 1), hostKicks: make(chan struct{}, 1), ruleKicks: make(chan struct{}, 1), done: make(chan struct{}),
		hostTold: make(chan struct{}),
		cables:   host.NewMoved(),
		started:  time.Now(), restore: restore{log: log}, memory: newMemory(cfg.RunDir),
	}
	a.plugger = plugging.New(a, log)
	a.neighbours.init(cfg.OVSRunDir)
	a.discovery = discovery.New(a.mgmtSocket(), log)
	a.rec = reconcile.New(func(ctx context.Context) (openflow.Switch, error) { return openflow.Dial(ctx, a.mgmtSocket(), log) }, log)
	src, err := newSource(cfg, log)
	if err != nil {
		return nil, err
	}
	a.src, a.conflicts = src, newConflicts(cfg.Node, src, log)
	a.purger = newPurger(cfg.OVSRunDir, log)
	a.forgets = forget.New(log, a.noteForget, a.cachedFlowsSettle, a.tracker)
	a.rec.Before, a.host.Before = a.beforeChange, a.beforeHostPorts
	a.kept.recall = a.memory.pods
	return a, nil
}

// mgmtSocket is where the bridge speaks OpenFlow.
func (a *Agent) mgmtSocket() string { return filepath.Join(a.cfg.OVSRunDir, render.Bridge+".mgmt") }

// newSource is where the agent's state comes from.
func newSource(cfg Config, log *slog.Logger) (source.Source, error) {
	if cfg.Manifests != "" {
		return manifests.NewDir(cfg.Manifests, log), nil
	}
	return kube.Dial(cfg.Kubeconfig, log)
}

// Run serves until ctx ends. Flows, ports and host settings stay as they are: pods
// go on without an agent.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.cfg.Install.executables(); err != nil {
		return err
	}
	cni, err := server.Listen(a.cfg.CNISocket())
	if err != nil {
		return err
	}
	apiListener, err := server.Listen(a.cfg.AgentSocket())
	if err != nil {
		_ = cni.Close()
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	run := func(what string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	run("source", a.src.Run)
	run("cni socket", func(ctx context.Context) error { return server.Serve(ctx, cni, a.plugger.Serve, a.log) })
	run("agent socket", func(ctx context.Context) error { return api.Serve(ctx, apiListener, a) })
	// OVSDB stays until the last request is done or taken back.
	dbCtx, closeDB := context.WithCancel(context.WithoutCancel(ctx))
	defer closeDB()
	var ovsdb sync.WaitGroup
	ovsdb.Go(func() { a.dbLoop(dbCtx) })
	run("host notifications", func(ctx context.Context) error { return host.Watch(ctx, a.hostKicks, a.neighbours.kicks, a.cables) })
	run("nftables notifications", func(ctx context.Context) error { return host.WatchRules(ctx, a.ruleKicks) })
	run("sysctl notifications", func(ctx context.Context) error { return host.WatchSettings(ctx, a.hostKicks) })
	run("tunnel neighbours", a.neighbourLoop)
	run("host", a.hostLoop)
	run("flows", a.passLoop)
	run("kernel", a.kernelLoop)
	run("health", a.healthLoop)
	run("neighbour discovery", a.discovery.Run)
	run("memory", a.memoryLoop)
	run("conflicts", a.conflicts.loop)
	run("cached flows", a.purger.loop)
	run("conntrack", a.forgets.Run)
	run("CNI configuration", a.installLoop)
	a.log.Info("agent started", "node", a.cfg.Node, "source", a.src.String(), "version", a.cfg.Version)
	if indirect := a.apiServerByService(nil); indirect != "" {
		a.log.Warn(indirect)
	}
	<-ctx.Done()
	wg.Wait()
	a.plugger.Wait()
	closeDB()
	ovsdb.Wait()
	a.recMu.Lock()
	a.rec.Close()
	a.recMu.Unlock()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	a.log.Info("agent stopped", "node", a.cfg.Node)
	return nil
}

const (
	// dbRetry is how often ovsdb-server is looked for while it is away.
	dbRetry = time.Second
	// dbPause is for changes to come together: most are the echo of what was done
	// here, in several parts.
	dbPause = 20 * time.Millisecond
)

// dbLoop opens OVSDB and passes its changes on.
func (a *Agent) dbLoop(ctx context.Context) {
	for {
		c, err := db.Open(ctx, a.cfg.OVSDB, a.log)
		a.mu.Lock()
		a.db, a.dbError = c, err
		a.mu.Unlock()
		if err == nil {
			break
		}
		a.kick()
		select {
		case <-ctx.Done():
			return
		case <-time.After(dbRetry):
		}
	}
	c, _ := a.ovsdb()
	defer c.Close()
	for {
		a.dbChanged.Store(true)
		a.kick()
		select {
		case <-ctx.Done():
			return
		case <-c.Changes():
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(dbPause):
		}
	}
}

// ovsdb is the client, or why there is none.
func (a *Agent) ovsdb() (*db.Client, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.db == nil {
		if a.dbError != nil {
			return nil, a.dbError
		}
		return nil, fmt.Errorf("connecting to OVSDB at %s", a.cfg.OVSDB)
	}
	if !a.db.Connected() {
		return nil, fmt.Errorf("ovsdb-server at %s does not answer: is Open vSwitch running (systemctl status openvswitch-switch)?", a.cfg.OVSDB)
	}
	return a.db, nil
}

// kick asks for a pass.
func (a *Agent) kick() { poke(a.kicks) }

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sync waits until a pass that began after this call has ended, and returns its error.
func (a *Agent) sync(ctx context.Context) error {
	a.mu.Lock()
	a.want++
	mine := a.want
	a.mu.Unlock()
	a.kick()
	for {
		a.mu.Lock()
		p, done := a.pass, a.done
		a.mu.Unlock()
		if p.number >= mine {
			return p.err
		}
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("waited for the flows to be installed: %w", context.Cause(ctx))
		}
	}
}
