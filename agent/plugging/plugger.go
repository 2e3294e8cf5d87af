package plugging

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// Node is what plugging needs of the rest of the agent. All methods may be called at
// the same time.
type Node interface {
	// Name is that of this machine's Node object.
	Name() string
	// OVSDB is the client, or why there is none.
	OVSDB() (*db.Client, error)
	// Ready is OVSDB and the state in force, or why an ADD has to wait.
	Ready() (*db.Client, state.State, error)
	// Kick asks for a pass: what is attached has changed.
	Kick()
	// Sync waits until a pass that began after this call has ended, and returns its
	// error: then the flows are those of the attachments.
	Sync(ctx context.Context) error
	// SyncHost waits until the host's own side is that of the last pass, and returns why it
	// cannot be.
	SyncHost(ctx context.Context) error
	// MissingHostPort is the first host port of the attachment that the host does not lead to
	// it, and why; empty if it leads all.
	MissingHostPort(ctx context.Context, a state.Attachment) (string, error)
	// Refused is why the switch did not take the flows of an attachment (see
	// render.AttachmentName) in the last pass; nil if it did.
	Refused(attachment string) error
	// Know returns when the Pod is among what the next pass knows, or why it cannot be.
	Know(ctx context.Context, namespace, name, uid string) error
	// Pod is the Pod as last known. Known is false while nothing sure is known of any:
	// then a Pod that is not there may be there all the same.
	Pod(namespace, name string) (p state.Pod, there, known bool)
	// KnowsAllPods tells whether each pod of this node is among those that Pod knows once
	// anything sure is known; a directory of manifests need not name them all.
	KnowsAllPods() bool
	// Missing is the first flow of the attachment, of those rendered, that the switch
	// does not hold; empty if it holds all.
	Missing(ctx context.Context, a state.Attachment) (string, error)
}

// Plugger plugs the node's cables.
type Plugger struct {
	node    Node
	log     *slog.Logger
	attach  *attachments
	life    *life
	devices *devices
	metrics *Metrics
	unplugs sync.WaitGroup // ends of links under way

	mu sync.Mutex
	// recovered is set once the cables that OVSDB knows nothing of have been looked for.
	recovered bool
	// oddMTUs are the pods that do not follow the node's MTU, and why.
	oddMTUs map[lease.Key]string
}

// New makes the node's plugger, which knows of no attachment before See.
func New(node Node, log *slog.Logger) *Plugger {
	return &Plugger{node: node, log: log, attach: newAttachments(), life: newLife(), devices: newDevices(), metrics: newMetrics()}
}

// See takes in what OVSDB holds, and returns what is wrong with rows that cannot be
// read. The first time it also looks for cables whose rows were lost.
func (p *Plugger) See(ctx context.Context, ovsdb *db.Client) (problems []string, err error) {
	_, problems = p.attach.seen(ovsdb)
	p.mu.Lock()
	recovered := p.recovered
	p.mu.Unlock()
	if recovered {
		return problems, nil
	}
	if err := p.recoverCables(ctx, ovsdb); err != nil {
		return problems, err
	}
	p.mu.Lock()
	p.recovered = true
	p.mu.Unlock()
	return problems, nil
}

// Leases are the attachments that have a right to be there, in a stable order.
func (p *Plugger) Leases() []lease.Lease { return p.attach.all() }

// Attachments are those whose flows must be there.
func (p *Plugger) Attachments() []state.Attachment {
	list := p.attach.all()
	older := superseded(list)
	out := make([]state.Attachment, 0, len(list))
	for _, l := range list {
		if !older[l.Key()] && !l.Layer2.Is() {
			out = append(out, l.Attachment)
		}
	}
	return out
}

// UnderWay are the host's ends of cables that are being plugged or unplugged.
func (p *Plugger) UnderWay() map[string]bool { return p.attach.underWay() }

// Metrics are what the verbs took.
func (p *Plugger) Metrics() *Metrics { return p.metrics }

// Wait returns when no link is being removed any more.
func (p *Plugger) Wait() { p.unplugs.Wait() }

// Serve answers one CNI request.
func (p *Plugger) Serve(ctx context.Context, req *wire.Request) (any, error) {
	began := time.Now()
	var result any
	var err error
	var parts phases
	switch req.Command {
	case wire.Add:
		result, err = p.add(ctx, req, &parts)
	case wire.Del:
		err = p.del(ctx, req, &parts)
	case wire.Check:
		err = p.check(ctx, req)
	case wire.Status:
		err = p.status(req)
	case wire.GC:
		result, err = p.gc(ctx, req)
	default:
		err = types.NewError(types.ErrInternal, fmt.Sprintf("CNI verb %.20q is not known to this agent", req.Command), "")
	}
	took := time.Since(began)
	p.metrics.note(req.Command, took, &parts, err)
	log := p.log.With(
		slog.String("verb", req.Command), slog.String("container", req.ContainerID), slog.String("ifname", req.IfName),
		slog.Duration("took", took), parts.attr(),
	)
	switch {
	case err != nil:
		log.Warn("CNI request failed", "error", err)
	case req.Command != wire.Status:
		log.Info("CNI request done")
	}
	return result, err
}

// status answers STATUS: nothing is asked of anybody.
func (p *Plugger) status(req *wire.Request) error {
	if _, err := configuration(req); err != nil {
		return err
	}
	return p.Serving()
}

// Serving is nil when ADD can be served: the last pass went well and there are
// addresses to give.
func (p *Plugger) Serving() error {
	_, s, err := p.node.Ready()
	if err != nil {
		return types.NewError(wire.CodeNotAvailable, "the agent cannot serve: "+err.Error(), "")
	}
	if self, _ := s.Self(); len(self.PodCIDRs) == 0 {
		return types.NewError(wire.CodeNotAvailable, NoPodCIDR(p.node.Name()), "")
	}
	return nil
}

// NoPodCIDR says that, and what to do.
func NoPodCIDR(node string) string {
	return fmt.Sprintf("node %q has no pod addresses: its Node object has no spec.podCIDRs "+
		"(run kube-controller-manager with --allocate-node-cidrs and --cluster-cidr, or set spec.podCIDR, or give \"ranges\" in the CNI configuration)", node)
}
