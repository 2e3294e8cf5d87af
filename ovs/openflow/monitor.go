package openflow

import (
	"context"
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// FlowEvent is what somebody has done to the switch's flows.
type FlowEvent struct {
	Kind FlowEventKind
	// Flow is the one in question, with all of its actions unless Removed. Strange is
	// as in Entry.
	Flow    flows.Flow
	Strange string
	// Reason is why it was Removed.
	Reason RemoveReason
	// XID is the transaction that made the change, if Own.
	XID uint32
}

// FlowEventKind says what has happened.
type FlowEventKind uint8

// The kinds of events.
const (
	// FlowAdded, FlowRemoved and FlowModified were not done by a flow mod of this
	// connection but by somebody else, by a timeout, by a learn action, or because a
	// group or meter of the flow was removed (by whomever). A flow that took the place of one with its key was added.
	FlowAdded FlowEventKind = iota
	FlowRemoved
	FlowModified
	// FlowsOwn says that this connection has changed flows, not which. It comes
	// before the call that does so returns.
	FlowsOwn
	// FlowsResync says that events are missing, as more came than could wait here or
	// in the switch: only a dump tells what there is now.
	FlowsResync
)

func (k FlowEventKind) String() string {
	return [...]string{"added", "removed", "modified", "own", "resync"}[min(k, FlowsResync)]
}

// RemoveReason says why a flow is gone (the specification, "Flow Removed Message",
// enum ofp_flow_removed_reason).
type RemoveReason uint8

// The reasons.
const (
	RemovedIdle     RemoveReason = 0
	RemovedHard     RemoveReason = 1
	RemovedByDelete RemoveReason = 2
	RemovedByGroup  RemoveReason = 3 // its group was removed
	RemovedByMeter  RemoveReason = 4 // its meter was removed
	RemovedEviction RemoveReason = 5 // its table is full
)

// Events of a flow monitor (enum ofp_flow_update_event).
const (
	updateInitial  uint16 = 0
	updateAdded    uint16 = 1
	updateRemoved  uint16 = 2
	updateModified uint16 = 3
	updateAbbrev   uint16 = 4
	updatePaused   uint16 = 5
	updateResumed  uint16 = 6
)

// Flags of a flow monitor (enum ofp_flow_monitor_flags): what is to be told, with
// the instructions. Without NO_ABBREV our own changes are told in short.
const monitorFlags uint16 = 1<<1 | 1<<2 | 1<<3 | 1<<4

// waitingEvents is how many events may wait for their receiver.
const waitingEvents = 1024

// watch is the state of a connection that watches flows, under Conn.mu. Only the
// reader changes it once there is a channel.
type watch struct {
	ch chan FlowEvent // one more than waitingEvents, for FlowsResync
	// overflown is set from a FlowsResync that was sent for want of room until the
	// receiver has taken it. A dump after that sees what is left out meanwhile.
	overflown bool
	// paused is set while the switch keeps changes back, as we did not read.
	paused bool
}

// Watch tells of all changes to the switch's flows from its return on; what was there
// before, a dump tells. The channel is closed when the connection is lost. A
// connection can be watched once.
//
// 1024 events may wait there. If more come the last of them is FlowsResync, and
// what happens until that is taken is told by a dump only: a receiver that is slow
// holds up nothing else.
func (c *Conn) Watch(ctx context.Context) (<-chan FlowEvent, error) {
	ch := make(chan FlowEvent, waitingEvents+1)
	if err := open(c, &c.watch.ch, ch); err != nil {
		return nil, fmt.Errorf("watch the flows: %w", err)
	}
	var e encoder
	e.flowMonitor()
	if _, err := dump(ctx, c, "watch the flows", multipartFlowMonitor, e.b, (*decoder).flowUpdate); err != nil {
		abandon(c, &c.watch.ch)
		return nil, err
	}
	return ch, nil
}

// flowMonitor appends struct ofp_flow_monitor_request for every flow.
func (e *encoder) flowMonitor() {
	e.u32(1)      // monitor_id
	e.u32(anyone) // out_port
	e.u32(anyone) // out_group
	e.u16(monitorFlags)
	e.u8(allTables)
	e.u8(0) // command: OFPFMC_ADD
	e.match(nil)
}

// update is one event as it came.
type update struct {
	event uint16
	FlowEvent
}

// flowUpdate reads struct ofp_flow_update_full, _abbrev or _paused.
func (d *decoder) flowUpdate() (u update) {
	n := int(d.u16())
	body := d.sub(n - 2)
	u.event = body.u16()
	switch u.event {
	case updateAbbrev:
		u.Kind, u.XID = FlowsOwn, body.u32()
	case updatePaused, updateResumed:
		u.Kind = FlowsResync
	case updateInitial, updateAdded, updateRemoved, updateModified:
		u.Kind = [...]FlowEventKind{FlowAdded, FlowAdded, FlowRemoved, FlowModified}[u.event]
		u.fill(&body)
	default:
		body.fail(fmt.Errorf("flow monitor event %d", u.event))
	}
	d.fail(body.err)
	return u
}

// fill reads the rest of struct ofp_flow_update_full.
func (u *update) fill(d *decoder) {
	u.Flow.Table = flows.TableID(d.u8())
	u.Reason = RemoveReason(d.u8())
	idle, hard := d.u16(), d.u16()
	u.Flow.Priority = d.u16()
	d.skip(4)
	u.Flow.Cookie = flows.Cookie(d.u64())
	match, raw, strange := d.match()
	actions, odd := d.instructions()
	if strange == "" {
		strange = odd
	}
	if strange != "" {
		u.Strange = strangeText(raw, match, strange)
		return
	}
	u.Flow.Match, u.Flow.Actions, u.Flow.IdleTimeout, u.Flow.HardTimeout = match, actions, idle, hard
}

// flowsChanged hands the events of one message on.
func (c *Conn) flowsChanged(d *decoder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &c.watch
	if w.ch == nil {
		return
	}
	for d.more() {
		u := d.flowUpdate()
		switch {
		case d.err != nil:
			c.log.Debug("flow monitor event that cannot be read", "socket", c.socket, "err", d.err)
			w.resync()
		case u.event == updatePaused:
			w.paused = true
		case u.event == updateResumed:
			// What the switch has sent since the pause is what it could make up for,
			// with our own changes among it.
			w.paused = false
			w.resync()
		case !w.paused:
			w.send(u.FlowEvent)
		}
	}
}

// send hands an event on if there is room for it, else the news that there was none.
func (w *watch) send(e FlowEvent) {
	if w.overflown && len(w.ch) > 0 {
		return
	}
	w.overflown = false
	if len(w.ch) >= waitingEvents {
		w.resync()
		return
	}
	w.ch <- e // nobody else sends
}

// resync hands on that events are missing: there is always room for that once.
func (w *watch) resync() {
	if w.overflown && len(w.ch) > 0 {
		return
	}
	w.overflown = true
	w.ch <- FlowEvent{Kind: FlowsResync}
}
