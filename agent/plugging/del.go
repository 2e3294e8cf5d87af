package plugging

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/ipam"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/db"
)

// del unplugs a cable. It is idempotent, needs no namespace, and succeeds when there
// is nothing to delete. It answers once flows and row have gone; the link's end
// (some 30 ms) is under way then and owned by the agent.
func (p *Plugger) del(ctx context.Context, req *wire.Request, parts *phases) error {
	r, err := attachment(req)
	if err != nil {
		return err
	}
	key := r.lease.Key()
	if !p.attach.lock(ctx.Done(), key) {
		return tryAgain("gave up while another request for %s was under way", key)
	}
	held, ok := p.attach.get(key)
	if !ok {
		// No lease: at most a cable that an ADD left behind.
		defer p.attach.unlock(key)
		p.settle(ctx, key)
		return plug.Remove(r.lease.Port)
	}
	// Another IPAM plugin's DEL is run after this, by the executable.
	if err := p.unplug(ctx, held, false, parts); err != nil {
		// Open vSwitch is away or slow. The pod goes all the same: its cable is taken
		// here, and the lease is freed when its row can be, on that evidence.
		p.log.Warn("the lease is freed later", "holder", held.Holder(), "error", err)
	}
	return nil
}

// unplug is the one way in which an attachment ends, whoever wants it: DEL, GC, or the
// evidence that its container has gone. The caller has locked the key; it stays locked
// until the cable has gone, so that an ADD of the same waits (as one of another container
// does that wants its place). Owes tells that another
// IPAM plugin, if there is one, does not hear of it now. The error is why the lease
// could not be freed; the cable goes all the same.
func (p *Plugger) unplug(ctx context.Context, l lease.Lease, owes bool, parts *phases) error {
	if l.Layer2.Device != "" {
		defer p.node.Kick()
		defer p.attach.unlock(l.Key())
		return p.bringDevice(ctx, l, owes)
	}
	ovsdb, err := p.node.OVSDB()
	if err == nil {
		err = p.release(ctx, ovsdb, l, owes, parts)
	} else {
		p.retire(l)
	}
	gone := p.attach.ends(l)
	p.unplugs.Go(func() {
		defer p.attach.unlock(l.Key())
		defer gone()
		errs := []error{plug.Remove(l.Port)}
		if l.NetNS != "" {
			errs = append(errs, plug.Forget(l.NetNS, l.Addresses))
		}
		if err := errors.Join(errs...); err != nil {
			p.log.Error("cable not removed whole", "port", l.Port, "error", err)
		}
		p.node.Kick()
	})
	return err
}

// flowsPatience is how long DEL waits for the flows to go. They have gone in a
// millisecond or a few, unless the switch is busy with other ports: userspace Open
// vSwitch takes some 10 ms to close each, and does nothing else meanwhile (seen). A
// later pass removes them all the same.
const flowsPatience = 30 * time.Millisecond

// retire marks the cable, before the row goes: an agent that starts after this one died
// must know that the cable is nobody's.
func (p *Plugger) retire(l lease.Lease) {
	if err := plug.Retire(l.Port); err != nil {
		p.log.Warn("cable not marked as being removed", "port", l.Port, "error", err)
	}
}

// release frees the lease: its flows, then its row with a note of when. In this order,
// as the switch looks at all its ports when a link or a row changes, and takes no flows
// meanwhile (beside 200 pods 14 ms, measured).
func (p *Plugger) release(ctx context.Context, ovsdb *db.Client, l lease.Lease, owes bool, parts *phases) error {
	p.attach.leave(l.Key())
	if !l.Layer2.Is() {
		p.flowsOut(ctx, l, parts)
	}
	p.retire(l)
	note := freeing(ovsdb, l, owes, time.Now())
	if l.Layer2.Is() { // an operator's bridge is not for our notes
		p.owe(ctx, ovsdb, l, owes)
		note = db.BridgeNote{}
	}
	end := parts.begin("row")
	_, err := ovsdb.DeletePort(ctx, bridgeOf(l), l.Port, note)
	end()
	if err != nil {
		p.attach.stay(l.Key())
		return err
	}
	p.attach.gone(l.Key())
	return nil
}

// owe notes on our own bridge what an attachment elsewhere owes to another IPAM plugin.
func (p *Plugger) owe(ctx context.Context, ovsdb *db.Client, l lease.Lease, owes bool) {
	if err := ovsdb.NoteBridge(ctx, render.Bridge, freeing(ovsdb, l, owes, time.Now())); err != nil {
		p.log.Warn("an IPAM plugin may not be told", "holder", l.Holder(), "error", err)
	}
}

// settle forgets that an attachment owes its addresses to another IPAM plugin: who asks
// for its DEL runs the plugin's too.
func (p *Plugger) settle(ctx context.Context, key lease.Key) {
	ovsdb, err := p.node.OVSDB()
	if err != nil {
		return // the plugin is told once more
	}
	bridge, _ := ovsdb.Bridge(render.Bridge)
	if _, owes := bridge.ExternalIDs[lease.OwedKey(key)]; !owes {
		return
	}
	if err := ovsdb.NoteBridge(ctx, render.Bridge, db.BridgeNote{Remove: []string{lease.OwedKey(key)}}); err != nil {
		p.log.Warn("an IPAM plugin will be told once more", "attachment", key.String(), "error", err)
	}
}

// flowsOut waits, not for long, until the flows have gone.
func (p *Plugger) flowsOut(ctx context.Context, l lease.Lease, parts *phases) {
	defer parts.begin("flows")()
	patient, cancel := context.WithTimeout(ctx, flowsPatience)
	defer cancel()
	err := p.node.Sync(patient) // a switch that is away has no flows to lose
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		p.log.Warn("flows not removed yet", "holder", l.Holder(), "error", err)
	}
}

// freeing is the note of when the lease's addresses were freed. Those that another IPAM
// plugin gave rest, or do not, as that plugin has it; if it is not told now, that is
// noted.
func freeing(ovsdb *db.Client, l lease.Lease, owes bool, now time.Time) db.BridgeNote {
	note := db.BridgeNote{Set: map[string]string{}}
	if l.IPAM != "" || l.Layer2.Is() {
		if owes && l.IPAM != "" {
			note.Set[lease.OwedKey(l.Key())] = lease.OwedValue(l.Key())
		}
		return note
	}
	for _, addr := range l.Addresses {
		note.Set[lease.FreedKey(addr)] = lease.FreedValue(now)
	}
	if bridge, ok := ovsdb.Bridge(render.Bridge); ok {
		note.Remove = lease.Forget(lease.Freed(bridge.ExternalIDs), now.Add(-ipam.Rest))
	}
	return note
}
