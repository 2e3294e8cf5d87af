package plugging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/cni/wire"
)

// gc ends the attachments of its own network that the runtime does not list, and no
// others: none at all if there is no list, or if the configuration turns GC off. What
// is being plugged in, or was while the request was under way, is left alone: the
// runtime's list may be older.
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
		ended.Attachments = append(ended.Attachments, wire.Attachment{ContainerID: l.ContainerID, IfName: l.IfName})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, tryAgain("some leases are freed later, their cables have gone: %v", err)
	}
	return ended, nil
}
