package openflow

import (
	"context"
	"fmt"
	"time"
)

// call is a request, or several with consecutive transaction ids, whose replies
// are awaited.
type call struct {
	base, count uint32
	// handle gets every reply, to the i-th request, in the reader's goroutine and
	// under Conn.mu: it must not wait, nor keep the message's body.
	handle func(i int, m message)
	// answer is reset with every reply: its end is the end of patience.
	answer *time.Timer
	bound  time.Duration
}

// begin reserves transaction ids and registers a call for their replies. The
// caller must end it. 0 is never one of them: echoes and discards have it.
func (c *Conn) begin(count int, handle func(i int, m message)) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nextXID == 0 || c.nextXID+uint32(count) < c.nextXID {
		c.nextXID = 1
	}
	l := &call{base: c.nextXID, count: uint32(count), handle: handle, bound: c.timing.answer, answer: time.NewTimer(c.timing.answer)}
	c.nextXID += l.count
	c.calls = append(c.calls, l)
	return l
}

// end makes sure that handle does not run any more.
func (c *Conn) end(l *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.answer.Stop()
	for i := range c.calls {
		if c.calls[i] == l {
			last := len(c.calls) - 1
			c.calls[i], c.calls[last] = c.calls[last], nil
			c.calls = c.calls[:last]
			return
		}
	}
}

// deliver gives a message to its call and tells whether there is one.
func (c *Conn) deliver(m message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.calls {
		if i := m.xid - l.base; i < l.count {
			l.answer.Reset(l.bound)
			l.handle(int(i), m)
			return true
		}
	}
	return false
}

// patience sets how long each of the call's further replies may take.
func (c *Conn) patience(l *call, bound time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.bound = bound
	l.answer.Reset(bound)
}

// await waits for a call's outcome, which handle sends.
func (c *Conn) await(ctx context.Context, l *call, outcome <-chan error) error {
	select {
	case err := <-outcome:
		return err
	default:
	}
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.answer.C:
		return fmt.Errorf("%w (%v)", ErrNoAnswer, l.bound)
	case <-c.lost:
	}
	// The answer may have come just before the end.
	c.end(l)
	select {
	case err := <-outcome:
		return err
	default:
		return c.cause
	}
}

// tell sends an outcome that only the first counts of.
func tell(outcome chan error, err error) {
	select {
	case outcome <- err:
	default:
	}
}

// Barrier returns when the switch has done all that it was sent before (the
// specification, "Barrier Message").
func (c *Conn) Barrier(ctx context.Context) error {
	return c.request(ctx, kindBarrierRequest, kindBarrierReply, func([]byte) error { return nil })
}

// features asks which datapath this is (the specification, "Handshake", struct
// ofp_switch_features).
func (c *Conn) features(ctx context.Context) (datapathID uint64, err error) {
	err = c.request(ctx, kindFeaturesRequest, kindFeaturesReply, func(body []byte) error {
		d := decoder{b: body}
		datapathID = d.u64()
		return d.err
	})
	return datapathID, err
}

// request sends a message without body and gives the reply's to decode.
func (c *Conn) request(ctx context.Context, request, reply kind, decode func(body []byte) error) error {
	outcome := make(chan error, 1)
	l := c.begin(1, func(_ int, m message) {
		switch m.kind {
		case reply:
			tell(outcome, decode(m.body))
		case kindError:
			tell(outcome, decodeError(m.body))
		default:
			tell(outcome, fmt.Errorf("%s instead", m.kind))
		}
	})
	defer c.end(l)
	err := c.send(ctx, frame(request, l.base, nil))
	if err == nil {
		err = c.await(ctx, l, outcome)
	}
	if err != nil {
		c.end(l) // what decode writes is the caller's again
		return fmt.Errorf("wait for %s: %w", reply, err)
	}
	return nil
}

// command sends n messages that the switch answers only to refuse them, and a
// barrier, whose reply says that no refusal is still to come. refused is in the
// order in which they came.
func (c *Conn) command(ctx context.Context, n int, put func(e *encoder, xid uint32, i int)) (refused []refusal, err error) {
	outcome := make(chan error, 1)
	l := c.begin(n+1, func(i int, m message) {
		switch {
		case m.kind == kindError && i < n && len(refused) < n:
			refused = append(refused, refusal{i, decodeError(m.body)})
		case m.kind == kindError:
			tell(outcome, decodeError(m.body))
		case m.kind != kindBarrierReply || i < n:
			tell(outcome, fmt.Errorf("%s instead of %s", m.kind, kindBarrierReply))
		default:
			tell(outcome, nil)
		}
	})
	defer c.end(l)
	var e encoder
	for i := range n {
		if put(&e, l.base+uint32(i), i); e.err != nil {
			return nil, e.err
		}
		if len(e.b) < chunk {
			continue
		}
		if err := c.send(ctx, e.b); err != nil {
			return nil, fmt.Errorf("send message %d of %d: %w", i+1, n, err)
		}
		e = encoder{}
	}
	e.end(e.begin(kindBarrierRequest, l.base+uint32(n)))
	if err := c.send(ctx, e.b); err != nil {
		return nil, fmt.Errorf("send the last of %d messages: %w", n, err)
	}
	err = c.await(ctx, l, outcome)
	c.end(l) // refused is ours again
	if err != nil {
		return nil, fmt.Errorf("wait until the switch has done %d messages: %w", n, err)
	}
	return refused, nil
}
