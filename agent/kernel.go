package agent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/db"
)

// kernelLoop looks, once a tick, at what the kernel tells only those who ask. It is no
// part of a pass, as asking takes the kernel's lock on its network configuration:
// while 50 links are being deleted that is hundreds of milliseconds (seen), and no ADD
// or DEL must wait for it.
func (a *Agent) kernelLoop(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		a.refreshUnderlay()
		err := a.collect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			said = ""
		} else if said != err.Error() {
			said = err.Error()
			a.log.Error("leases could not be held against the cables", "error", err)
		}
	}
}

// underlay is the device with the node's address, found for these addresses.
type underlay struct {
	host.Underlay
	of []netip.Addr
}

// findUnderlay is the device as last looked at, at most a tick ago.
func (a *Agent) findUnderlay(addresses []netip.Addr) (host.Underlay, error) {
	a.mu.Lock()
	last := a.underlay
	a.mu.Unlock()
	if last.Device != "" && slices.Equal(last.of, addresses) {
		return last.Underlay, nil
	}
	found, err := host.FindUnderlay(addresses)
	if err != nil {
		return host.Underlay{}, err
	}
	a.mu.Lock()
	a.underlay = underlay{found, addresses}
	a.mu.Unlock()
	return found, nil
}

// refreshUnderlay looks again. Where it is not what it was, the next pass has to know.
func (a *Agent) refreshUnderlay() {
	a.mu.Lock()
	last := a.underlay
	a.mu.Unlock()
	if last.Device == "" {
		return // the passes look by themselves
	}
	found, err := host.FindUnderlay(last.of)
	if err == nil && found == last.Underlay {
		return
	}
	a.mu.Lock()
	a.underlay = underlay{} // the pass looks, and says what is wrong
	a.mu.Unlock()
	a.kick()
}

// collect puts OVSDB right by the one sure evidence, the cable itself: a lease whose
// cable has gone (its container's namespace has, or the machine was started anew) is
// freed; a row that somebody deleted under a cable that is still there is written again;
// a cable that an earlier agent had promised to remove, or had not finished, is removed.
func (a *Agent) collect(ctx context.Context) error {
	ovsdb, _ := a.ovsdb()
	if ovsdb == nil {
		return nil // the passes say why
	}
	if _, ok := ovsdb.Bridge(render.Bridge); !ok {
		return nil // a pass makes it; without it all rows would seem lost
	}
	lost := a.attach.seen(func() []lease.Lease { return a.rows(ovsdb, &passResult{}) })
	// Before the devices are listed: those that are plugged in later are not in the list.
	settled := a.attach.settled()
	ends, err := plug.HostEnds()
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(ends))
	for _, end := range ends {
		there[end.Name] = true
	}
	errs := []error{a.sweep(ends)}
	for _, l := range lost {
		errs = append(errs, a.attach.undisturbed(l, func() error {
			if !there[l.Port] {
				a.attach.gone(l.Key())
				return nil
			}
			a.log.Warn("somebody deleted a pod's port; it is put back", "port", l.Port, "holder", l.Holder())
			return ovsdb.AddPort(ctx, render.Bridge, portSpec(l), db.BridgeNote{})
		}))
	}
	for _, l := range settled {
		if there[l.Port] {
			continue
		}
		errs = append(errs, a.attach.undisturbed(l, func() error {
			a.log.Info("lease freed: its cable has gone", "holder", l.Holder(), "addresses", l.Addresses, "port", l.Port)
			_, err := ovsdb.DeletePort(ctx, render.Bridge, l.Port, freeing(l, time.Now()))
			if err == nil {
				a.attach.gone(l.Key())
				a.kick()
			}
			return err
		}))
	}
	return errors.Join(errs...)
}

// sweep removes the cables among these that are nobody's for certain.
func (a *Agent) sweep(ends []plug.HostEnd) error {
	somebodys := a.attach.underWay()
	for _, l := range a.attach.all() {
		somebodys[l.Port] = true
	}
	var errs []error
	for _, end := range ends {
		if somebodys[end.Name] || !end.Abandoned() {
			continue
		}
		a.log.Info("a cable that is nobody's is removed", "port", end.Name)
		errs = append(errs, end.Remove())
	}
	return errors.Join(errs...)
}
