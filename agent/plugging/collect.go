package plugging

import (
	"context"
	"errors"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/flows/render"
)

// Collect puts right what nobody says: a lease whose cable has gone (its container's
// namespace has, or the machine was started anew) is freed, and so is one whose sandbox
// is dead for certain; a row that somebody deleted under a cable that is still there is
// written again; a cable that an earlier agent had promised to remove, or had not
// finished, is removed. What is doubtful is kept, and the reason with it.
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
	errs := []error{p.sweep(ends), p.tendDevices(settled, there)}
	if _, err := ovsdb.SweepLimits(ctx); err != nil {
		errs = append(errs, err)
	}
	for _, l := range lost {
		errs = append(errs, p.attach.undisturbed(l, func() error {
			if !there[l.Port] {
				p.attach.gone(l.Key())
				return nil
			}
			p.log.Warn("somebody deleted a pod's port; it is put back", "port", l.Port, "holder", l.Holder())
			return putBack(ctx, ovsdb, l)
		}))
	}
	errs = append(errs, p.tendLayer2(ctx, ovsdb), p.followMTU(ctx, ovsdb, settled))
	for l, why := range p.dead(settled, there) {
		errs = append(errs, p.collectOne(ctx, l, why))
	}
	return errors.Join(errs...)
}

// collectOne ends an attachment that nobody has any more.
func (p *Plugger) collectOne(ctx context.Context, l lease.Lease, why string) error {
	if !p.attach.idle(l) {
		return nil // a verb is at work on it, or has been: it says what is true
	}
	p.log.Info("lease freed", "because", why, "holder", l.Holder(), "addresses", l.Addresses, "port", l.Port)
	var parts phases
	return p.unplug(ctx, l, true, &parts)
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
