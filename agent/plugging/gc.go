package plugging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/render"
)

// gc ends the attachments of its own network that the runtime does not list, and no
// others: none at all if there is no list, or if the configuration turns GC off. What
// is being plugged in, or was while the request was under way, is left alone: the
// runtime's list may be older. The result is what another IPAM plugin has to be told of:
// what ended now, and what the agent had ended before.
func (p *Plugger) gc(ctx context.Context, req *wire.Request) (any, error) {
	began := time.Now().UnixNano()
	c, err := configuration(req)
	if err != nil {
		return nil, err
	}
	if !c.AttachmentsListed || c.DisableGC {
		return nil, nil
	}
	listed := make(map[conf.Attachment]bool, len(c.ValidAttachments))
	for _, a := range c.ValidAttachments {
		listed[a] = true
	}
	var ended wire.Collected
	var errs []error
	for _, l := range p.attach.settled() {
		if l.Network != c.Name || listed[conf.Attachment{ContainerID: l.ContainerID, IfName: l.IfName}] || l.Created >= began {
			continue
		}
		if err := p.collectOne(ctx, l, "CNI GC does not list it"); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.Holder(), err))
		}
	}
	ended.Attachments = p.owed(c.Name, listed)
	if err := errors.Join(errs...); err != nil {
		return nil, tryAgain("some leases are freed later, their cables have gone: %v", err)
	}
	return ended, nil
}

// owed are the attachments of a network that owe their addresses to another IPAM plugin,
// and that the runtime does not list.
func (p *Plugger) owed(network string, listed map[conf.Attachment]bool) (out []wire.Attachment) {
	ovsdb, err := p.node.OVSDB()
	if err != nil {
		return nil
	}
	bridge, _ := ovsdb.Bridge(render.Bridge)
	for _, k := range lease.Owed(bridge.ExternalIDs) {
		if k.Network == network && !listed[conf.Attachment{ContainerID: k.ContainerID, IfName: k.IfName}] {
			out = append(out, wire.Attachment{ContainerID: k.ContainerID, IfName: k.IfName})
		}
	}
	return out
}
