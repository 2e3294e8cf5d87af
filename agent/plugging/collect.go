package plugging

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/db"
)

// Collect puts OVSDB right by the one sure evidence, the cable itself: a lease whose
// cable has gone (its container's namespace has, or the machine was started anew) is
// freed; a row that somebody deleted under a cable that is still there is written again;
// a cable that an earlier agent had promised to remove, or had not finished, is removed.
func (p *Plugger) Collect(ctx context.Context) error {
	ovsdb, _ := p.node.OVSDB()
	if ovsdb == nil {
		return nil // the passes say why
	}
	if _, ok := ovsdb.Bridge(render.Bridge); !ok {
		return nil // a pass makes it; without it all rows would seem lost
	}
	lost, _ := p.attach.seen(ovsdb)
	// Before the devices are listed: those that are plugged in later are not in the list.
	settled := p.attach.settled()
	ends, err := plug.HostEnds()
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(ends))
	for _, end := range ends {
		there[end.Name] = true
	}
	errs := []error{p.sweep(ends)}
	for _, l := range lost {
		errs = append(errs, p.attach.undisturbed(l, func() error {
			if !there[l.Port] {
				p.attach.gone(l.Key())
				return nil
			}
			p.log.Warn("somebody deleted a pod's port; it is put back", "port", l.Port, "holder", l.Holder())
			return ovsdb.AddPort(ctx, render.Bridge, portSpec(l), db.BridgeNote{})
		}))
	}
	for _, l := range settled {
		if there[l.Port] {
			continue
		}
		errs = append(errs, p.attach.undisturbed(l, func() error {
			p.log.Info("lease freed: its cable has gone", "holder", l.Holder(), "addresses", l.Addresses, "port", l.Port)
			_, err := ovsdb.DeletePort(ctx, render.Bridge, l.Port, freeing(l, time.Now()))
			if err == nil {
				p.attach.gone(l.Key())
				p.node.Kick()
			}
			return err
		}))
	}
	return errors.Join(errs...)
}

// sweep removes the cables among these that are nobody's for certain.
func (p *Plugger) sweep(ends []plug.HostEnd) error {
	somebodys := p.attach.underWay()
	for _, l := range p.attach.all() {
		somebodys[l.Port] = true
	}
	var errs []error
	for _, end := range ends {
		if somebodys[end.Name] || !end.Abandoned() {
			continue
		}
		p.log.Info("a cable that is nobody's is removed", "port", end.Name)
		errs = append(errs, end.Remove())
	}
	return errors.Join(errs...)
}
