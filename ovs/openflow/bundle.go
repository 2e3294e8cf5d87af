package openflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-cni/sluice/flows"
)

// Types of bundle control messages (the specification, "Bundle messages", enum
// ofp_bundle_ctrl_type).
const (
	bundleOpen        uint16 = 0
	bundleClose       uint16 = 2
	bundleCloseReply  uint16 = 3
	bundleCommit      uint16 = 4
	bundleCommitReply uint16 = 5
	bundleDiscard     uint16 = 6
)

// bundleFlags is OFPBF_ATOMIC | OFPBF_ORDERED.
const bundleFlags uint16 = 1 | 2

// chunk is about how many bytes of a bundle are written at once.
const chunk = 1 << 16

// Apply implements Switch. Its error wraps a *ChangeError if the switch refused
// messages of the bundle or one could not be sent, and *MeterErrors if it refused
// meters.
//
// The context ends it before the commit only, and nothing has changed then. From
// the commit on it waits for the switch's word, which always comes, or else the
// connection is given up: then alone (ErrLost) the change may have been made.
func (c *Conn) Apply(ctx context.Context, change Change) error {
	if change.Empty() {
		return nil
	}
	select {
	case c.applying <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("change flows: wait for an earlier change: %w", context.Cause(ctx))
	case <-c.lost:
		return fmt.Errorf("change flows: %w", c.cause)
	}
	defer func() { <-c.applying }()
	if len(change.PutMeters) > 0 {
		if err := c.putMeters(ctx, change.PutMeters); err != nil {
			return fmt.Errorf("put %d meters, before any flow is changed: %w", len(change.PutMeters), err)
		}
	}
	if change.Size() > 0 {
		b := &bundle{Change: change, c: c, closed: make(chan error, 1), committed: make(chan error, 1)}
		if err := b.run(ctx); err != nil {
			return fmt.Errorf("change flows: %w", err)
		}
	}
	if len(change.RemoveMeters) > 0 {
		if err := c.removeMeters(ctx, change.RemoveMeters); err != nil {
			return fmt.Errorf("remove %d meters, the flows having been changed: %w", len(change.RemoveMeters), err)
		}
	}
	return nil
}

// bundle is a change on its way. Its messages have consecutive transaction ids:
// open, the n messages, close, commit.
type bundle struct {
	Change
	c    *Conn
	call *call
	id   uint32

	closed, committed chan error
	refused           []refusal // written by handle
}

// refusal is the switch's word about the i-th message.
type refusal struct {
	i   int
	err *Error
}

// run needs two round trips. The bundle is closed, and the answer awaited, before
// it is committed: the switch leaves a message that it cannot decode out of the
// bundle, answers with an error, and would commit the rest.
func (b *bundle) run(ctx context.Context) error {
	b.call = b.c.begin(b.Size()+3, b.handle)
	defer b.c.end(b.call)
	b.c.mu.Lock()
	b.id = b.c.nextBundle
	b.c.nextBundle++
	b.c.mu.Unlock()

	err := b.fill(ctx)
	if err == nil {
		// The time begins with the last message: a busy switch was seen to take 90,000 in more than ten seconds.
		b.c.patience(b.call, b.patience())
		if err = b.c.await(ctx, b.call, b.closed); err != nil {
			err = fmt.Errorf("wait until the switch has taken %d messages: %w", b.Size(), err)
		}
	}
	b.c.mu.Lock()
	refused := slices.Clone(b.refused)
	b.c.mu.Unlock()
	if len(refused) > 0 {
		err = b.refusals(refused)
	}
	if err != nil {
		b.discard()
		return err
	}
	return b.commit()
}

// fill writes all up to the close.
func (b *bundle) fill(ctx context.Context) error {
	e := encoder{b: make([]byte, 0, min(chunk+chunk/4, 512+256*b.Size()))}
	e.bundleControl(b.call.base, b.id, bundleOpen)
	for i := range b.Size() {
		if b.message(&e, i); e.err != nil {
			return &ChangeError{[]error{b.about(i, e.err)}}
		}
		if len(e.b) < chunk {
			continue
		}
		if err := b.c.send(ctx, e.b); err != nil {
			return fmt.Errorf("send message %d of %d: %w", i+1, b.Size(), err)
		}
		e.b = e.b[:0]
	}
	e.bundleControl(b.xid(b.Size()), b.id, bundleClose)
	if err := b.c.send(ctx, e.b); err != nil {
		return fmt.Errorf("send the last of %d messages: %w", b.Size(), err)
	}
	return nil
}

// commit makes the change, whatever becomes of the caller.
func (b *bundle) commit() error {
	b.c.busy.Add(int64(b.Size()))
	defer b.c.busy.Add(-int64(b.Size()))
	b.c.patience(b.call, b.patience())
	var e encoder
	e.bundleControl(b.xid(b.Size()+1), b.id, bundleCommit)
	err := b.c.send(context.Background(), e.b)
	if err == nil {
		err = b.c.await(context.Background(), b.call, b.committed)
	}
	b.c.end(b.call) // refused is ours again
	var refusedCommit *Error
	switch {
	case err == nil:
		return nil
	case len(b.refused) > 0:
		return b.refusals(b.refused)
	case errors.As(err, &refusedCommit):
		return fmt.Errorf("commit %d messages: nothing has been changed: %w", b.Size(), err)
	}
	if errors.Is(err, ErrNoAnswer) {
		// Nobody knows now what the switch holds: begin again.
		b.c.fail(fmt.Errorf("commit %d messages: %w", b.Size(), err))
		err = b.c.cause
	}
	return fmt.Errorf("commit %d messages: %w", b.Size(), err)
}

// patience is how long the switch may take for all messages.
func (b *bundle) patience() time.Duration {
	return b.c.timing.answer + time.Duration(b.Size())*b.c.timing.perMessage
}

// discard forgets the bundle; the switch would do so itself after 10 seconds.
func (b *bundle) discard() {
	var e encoder
	e.bundleControl(0, b.id, bundleDiscard)
	b.c.later(e.b)
}

// xid of the i-th message; those of open, close and commit are before and behind.
func (b *bundle) xid(i int) uint32 { return b.call.base + 1 + uint32(i) }

// handle gets the switch's replies.
func (b *bundle) handle(i int, m message) {
	var answer error
	switch m.kind {
	case kindError:
		answer = decodeError(m.body)
	case kindBundleControl:
	default:
		answer = fmt.Errorf("%s instead of %s", m.kind, kindBundleControl)
	}
	switch i--; {
	case i == b.Size():
		if answer == nil {
			answer = b.expect(m, bundleCloseReply)
		}
		tell(b.closed, answer)
	case i == b.Size()+1:
		if answer == nil {
			answer = b.expect(m, bundleCommitReply)
		}
		tell(b.committed, answer)
	case answer == nil: // the bundle is open
	case i < 0:
		tell(b.closed, fmt.Errorf("open a bundle: %w", answer))
	default:
		if refused, ok := errors.AsType[*Error](answer); ok && len(b.refused) < b.Size() {
			b.refused = append(b.refused, refusal{i, refused})
		}
	}
}

func (b *bundle) expect(m message, want uint16) error {
	d := decoder{b: m.body}
	id, typ := d.u32(), d.u16()
	if d.err != nil {
		return fmt.Errorf("%s: %w", m.kind, d.err)
	}
	if id != b.id || typ != want {
		return fmt.Errorf("answer %d for bundle %d instead of %d for %d", typ, id, want, b.id)
	}
	return nil
}

// message appends the i-th message of the change, wrapped for the bundle (struct
// ofp_bundle_add_msg): both have the same transaction id.
func (b *bundle) message(e *encoder, i int) {
	xid := b.xid(i)
	start := e.begin(kindBundleAdd, xid)
	e.u32(b.id)
	e.zero(2)
	e.u16(bundleFlags)
	i, g := b.part(i)
	switch g {
	case partPutGroup:
		e.putGroup(xid, b.PutGroups[i])
	case partRemoveBucket:
		e.removeBucket(xid, b.RemoveBuckets[i])
	case partInsertBuckets:
		e.groupMod(xid, groupInsertBuckets, lastBucket, b.InsertBuckets[i])
	case partRemove:
		e.removeFlow(xid, b.Remove[i])
	case partAdd:
		e.addFlow(xid, b.Add[i])
	case partRemoveGroup:
		e.removeGroup(xid, b.RemoveGroups[i])
	}
	e.end(start)
}

// about names the flow or group of the i-th message.
func (b *bundle) about(i int, err error) error {
	i, g := b.part(i)
	switch g {
	case partPutGroup:
		return &GroupError{b.PutGroups[i], err}
	case partRemoveBucket:
		id := b.RemoveBuckets[i]
		return &GroupError{flows.Group{ID: id.Group, Buckets: []flows.Bucket{{ID: id.Bucket}}}, err}
	case partInsertBuckets:
		return &GroupError{b.InsertBuckets[i], err}
	case partRemove:
		return &FlowError{b.Remove[i].Flow, b.Remove[i].Strange, err}
	case partAdd:
		return &FlowError{b.Add[i], "", err}
	default:
		return &GroupError{flows.Group{ID: b.RemoveGroups[i]}, err}
	}
}

func (b *bundle) refusals(list []refusal) error {
	out := make([]error, len(list))
	for k, r := range list {
		out[k] = b.about(r.i, r.err)
	}
	return &ChangeError{out}
}

// part is which of the change's lists a message is from.
type part int

const (
	partPutGroup part = iota
	partRemoveBucket
	partInsertBuckets
	partRemove
	partAdd
	partRemoveGroup
)

// part finds the i-th message: in which list, and where in it.
func (b *bundle) part(i int) (int, part) {
	for p, n := range []int{len(b.PutGroups), len(b.RemoveBuckets), len(b.InsertBuckets), len(b.Remove), len(b.Add)} {
		if i < n {
			return i, part(p)
		}
		i -= n
	}
	return i, partRemoveGroup
}

// bundleControl appends struct ofp_bundle_ctrl_msg.
func (e *encoder) bundleControl(xid, id uint32, typ uint16) {
	start := e.begin(kindBundleControl, xid)
	e.u32(id)
	e.u16(typ)
	e.u16(bundleFlags)
	e.end(start)
}
