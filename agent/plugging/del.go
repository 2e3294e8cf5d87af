package plugging

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/db"
)

// del unplugs a cable. It is idempotent, needs no namespace, and succeeds when there
// is nothing to delete. It answers once flows and row have gone; the link's end
// (some 30 ms) is under way then and owned by the agent.
func (p *Plugger) del(ctx context.Context, req *wire.Request, parts *phases) error {
	_, l, err := p.attachment(req)
	if err != nil {
		return err
	}
	if !p.attach.lock(ctx.Done(), l.Key()) {
		return tryAgain("gave up while another request for %s was under way", l.Key())
	}
	held, ok := p.attach.get(l.Key())
	if !ok {
		// No lease: at most a cable that an ADD left behind.
		defer p.attach.unlock(l.Key())
		return plug.Remove(l.Port)
	}
	// Before the row goes: an agent that starts after this one died must know that the
	// cable is nobody's.
	if err := plug.Retire(held.Port); err != nil {
		p.log.Warn("cable not marked as being removed", "port", held.Port, "error", err)
	}
	ovsdb, err := p.node.OVSDB()
	if err == nil {
		err = p.release(ctx, ovsdb, held, parts)
	}
	if err != nil {
		// Open vSwitch is away or slow. The pod goes all the same: its cable is taken
		// here, and the lease is freed when its row can be, on that evidence.
		p.log.Warn("the lease is freed later", "holder", held.Holder(), "error", err)
	}
	// The key stays locked until the cable has gone: an ADD of the same waits.
	p.unplugs.Go(func() {
		defer p.attach.unlock(l.Key())
		if err := errors.Join(plug.Remove(held.Port), plug.Forget(held.NetNS, held.Addresses)); err != nil {
			p.log.Error("cable not removed whole", "port", held.Port, "error", err)
		}
		p.node.Kick()
	})
	return nil
}

// flowsPatience is how long DEL waits for the flows to go. They have gone in a
// millisecond or a few, unless the switch is busy with other ports: userspace Open
// vSwitch takes some 10 ms to close each, and does nothing else meanwhile (seen). A
// later pass removes them all the same.
const flowsPatience = 30 * time.Millisecond

// release frees the lease: its flows, then its row with a note of when. In this order,
// as the switch would look at all its ports between the two.
func (p *Plugger) release(ctx context.Context, ovsdb *db.Client, l lease.Lease, parts *phases) error {
	p.attach.leave(l.Key())
	end := parts.begin("flows")
	patient, cancel := context.WithTimeout(ctx, flowsPatience)
	err := p.node.Sync(patient) // a switch that is away has no flows to lose
	cancel()
	end()
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		p.log.Warn("flows not removed yet", "holder", l.Holder(), "error", err)
	}
	end = parts.begin("row")
	_, err = ovsdb.DeletePort(ctx, render.Bridge, l.Port, freeing(l, time.Now()))
	end()
	if err != nil {
		p.attach.stay(l.Key())
		return err
	}
	p.attach.gone(l.Key())
	return nil
}

// freeing is the note of when the lease's addresses were freed.
func freeing(l lease.Lease, now time.Time) db.BridgeNote {
	note := db.BridgeNote{Set: map[string]string{}}
	for _, addr := range l.Addresses {
		note.Set[lease.FreedKey(addr)] = lease.FreedValue(now)
	}
	return note
}
