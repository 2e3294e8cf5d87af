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
	// Refused is why the switch did not take the flows of an attachment (see
	// render.AttachmentName) in the last pass; nil if it did.
	Refused(attachment string) error
	// Know returns when the Pod is among what the next pass knows, or why it cannot be.
	Know(ctx context.Context, namespace, name, uid string) error
}

// Plugger plugs the node's cables.
type Plugger struct {
	node    Node
	log     *slog.Logger
	attach  *attachments
	unplugs sync.WaitGroup // ends of links under way
}

// New makes the node's plugger, which knows of no attachment before See.
func New(node Node, log *slog.Logger) *Plugger {
	return &Plugger{node: node, log: log, attach: newAttachments()}
}

// See takes in what OVSDB holds, and returns what is wrong with rows that cannot be read.
func (p *Plugger) See(ovsdb *db.Client) (problems []string) {
	_, problems = p.attach.seen(ovsdb)
	return problems
}

// Leases are the attachments whose flows must be there, in a stable order.
func (p *Plugger) Leases() []lease.Lease { return p.attach.all() }

// Attachments are those of Leases.
func (p *Plugger) Attachments() []state.Attachment {
	list := p.attach.all()
	out := make([]state.Attachment, len(list))
	for i, l := range list {
		out[i] = l.Attachment
	}
	return out
}

// UnderWay are the host's ends of cables that are being plugged or unplugged.
func (p *Plugger) UnderWay() map[string]bool { return p.attach.underWay() }

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
	case wire.Status:
		err = p.Serving()
	default:
		err = types.NewError(types.ErrInternal, "CNI verb "+req.Command+" is not built yet", "")
	}
	log := p.log.With(
		slog.String("verb", req.Command), slog.String("container", req.ContainerID), slog.String("ifname", req.IfName),
		slog.Duration("took", time.Since(began)), parts.attr(),
	)
	switch {
	case err != nil:
		log.Warn("CNI request failed", "error", err)
	case req.Command != wire.Status:
		log.Info("CNI request done")
	}
	return result, err
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
