package openflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// timing bounds everything that a connection waits for.
type timing struct {
	// answer is how long a reply, or each part of one, may take.
	answer time.Duration
	// tick is how often the switch's silence is looked at.
	tick time.Duration
	// After quiet ticks of silence the switch is asked for an echo; after silent
	// ticks it counts as lost.
	quiet, silent int
	// write is how long the switch may leave a write of at most 64 KiB unread.
	write time.Duration
	// perMessage is allowed on top, for silence and for a commit, for each message
	// of a bundle that is being committed: Open vSwitch does nothing else then.
	perMessage time.Duration
}

// normal is the timing of every connection outside tests.
var normal = timing{
	answer:     10 * time.Second,
	tick:       500 * time.Millisecond,
	quiet:      3,
	silent:     9,
	write:      5 * time.Second,
	perMessage: 100 * time.Microsecond,
}

// Conn is a connection to one bridge. It is a Switch; its methods may be called by
// several goroutines. Two goroutines belong to it and end with it: one reads and
// hands replies to the calls that wait for them, one writes and watches for silence.
//
// Every method returns when its context ends, or when the switch has not answered
// for 10 seconds (ErrNoAnswer), or as soon as the connection is lost (ErrLost),
// and its error says what was waited for. Only a change that is being committed
// is not abandoned with its context: see Apply.
type Conn struct {
	socket string
	log    *slog.Logger
	timing timing
	nc     net.Conn

	datapathID uint64

	writes  chan write  // one at a time, in order
	control chan []byte // short messages that nobody waits for
	// applying holds a token while a bundle is under way: bundles are made one
	// after the other, in the order of the calls.
	applying chan struct{}

	heard atomic.Uint64 // messages that have come
	// busy is the number of messages that the switch is committing.
	busy atomic.Int64

	packetsDropped atomic.Uint64

	mu         sync.Mutex
	nextXID    uint32
	nextBundle uint32
	calls      []*call
	// What the switch sends unasked goes to these; nil: to nobody. deaf is set once
	// nothing more will come.
	packets chan PacketIn
	watch   watch
	deaf    bool

	lost  chan struct{}
	cause error // set before lost is closed
	once  sync.Once
	ends  sync.WaitGroup
}

// write is bytes to send; done tells their sender that they are out.
type write struct {
	b    []byte
	done chan struct{}
}

// Dial connects to the bridge whose management socket (<bridge>.mgmt in Open
// vSwitch's run directory) is at a path and makes sure that it answers and speaks
// OpenFlow 1.5. What happens to the connection later is told by Lost and, once, in
// the log (nil: nowhere).
func Dial(ctx context.Context, mgmtSocketPath string, log *slog.Logger) (*Conn, error) {
	return dial(ctx, mgmtSocketPath, log, normal)
}

func dial(ctx context.Context, path string, log *slog.Logger, t timing) (*Conn, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.answer, ErrNoAnswer)
	defer cancel()
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to the bridge at %q (does it exist, and does ovs-vswitchd run?): %w", path, err)
	}
	frames := newFrameReader(nc)
	if err := greet(ctx, nc, frames); err != nil {
		nc.Close()
		return nil, fmt.Errorf("greet the bridge at %q (does ovs-vswitchd run?): %w", path, err)
	}
	c := &Conn{
		socket: path, log: log, timing: t, nc: nc,
		writes: make(chan write), control: make(chan []byte, 16), applying: make(chan struct{}, 1),
		nextXID: 1, nextBundle: 1, lost: make(chan struct{}),
	}
	c.ends.Go(func() { c.read(frames) })
	c.ends.Go(c.write)
	if c.datapathID, err = c.features(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("greet the bridge at %q (does ovs-vswitchd run?): %w", path, err)
	}
	return c, nil
}

// greet exchanges hellos before anything else goes over the connection.
func greet(ctx context.Context, nc net.Conn, frames *frameReader) error {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err := nc.Write(hello())
	if err == nil {
		var m message
		if m, err = frames.next(); err == nil {
			err = checkHello(m)
		}
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("wait for its hello: %w", context.Cause(ctx))
	}
	return err
}

// Lost implements Switch. It is closed within about 5 seconds of the moment when
// the switch stops answering, and at once when the switch ends.
func (c *Conn) Lost() <-chan struct{} { return c.lost }

// DatapathID is the bridge's number, by default its MAC address.
func (c *Conn) DatapathID() uint64 { return c.datapathID }

// Err says why the connection was lost, nil while it is not.
func (c *Conn) Err() error {
	select {
	case <-c.lost:
		return c.cause
	default:
		return nil
	}
}

// Close implements Switch. It waits until the connection's goroutines have ended.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	c.ends.Wait()
	return nil
}

// fail ends the connection, for the first reason that is given.
func (c *Conn) fail(why error) {
	c.once.Do(func() {
		c.cause = fmt.Errorf("%w: %w", ErrLost, why)
		if !errors.Is(why, ErrClosed) {
			c.log.Warn("connection to the switch lost", "socket", c.socket, "err", why)
		}
		close(c.lost)
		c.nc.Close()
	})
}

// read hands every message that comes to the call that waits for it. It never
// waits for anything but the switch, so the switch can always get rid of its
// replies: Open vSwitch reads nothing from us while a hundred of them are unread.
func (c *Conn) read(frames *frameReader) {
	defer c.closeChannels()
	for {
		m, err := frames.next()
		if err != nil {
			c.fail(fmt.Errorf("read: %w", err))
			return
		}
		c.heard.Add(1)
		if m.version != version {
			c.fail(fmt.Errorf("%s of OpenFlow version %d", m.kind, m.version))
			return
		}
		if m.kind == kindEchoRequest {
			c.later(frame(kindEchoReply, m.xid, m.body))
			continue
		}
		if !c.unasked(m) && !c.deliver(m) && m.kind == kindError {
			c.log.Debug("error without a request", "socket", c.socket, "err", decodeError(m.body))
		}
	}
}

// later queues a message that nobody waits for. With 16 of them unsent the switch
// is not reading, and one more would not help.
func (c *Conn) later(b []byte) {
	select {
	case c.control <- b:
	default:
	}
}

// write sends what is queued and watches the switch's silence. Ticks are counted,
// not time: a machine that was suspended has missed its ticks.
func (c *Conn) write() {
	tick := time.NewTicker(c.timing.tick)
	defer tick.Stop()
	var heard uint64
	quiet := 0
	for {
		select {
		case <-c.lost:
			return
		case w := <-c.writes:
			if !c.put(w.b) {
				return
			}
			close(w.done)
		case b := <-c.control:
			if !c.put(b) {
				return
			}
		case <-tick.C:
			if now := c.heard.Load(); now != heard {
				heard, quiet = now, 0
				continue
			}
			quiet++
			if quiet >= c.timing.silent+int(c.allowance()/c.timing.tick) {
				c.fail(fmt.Errorf("%w: silent for %v, an echo is not answered", ErrNoAnswer, time.Duration(quiet)*c.timing.tick))
				return
			}
			if quiet == c.timing.quiet && !c.put(frame(kindEchoRequest, 0, nil)) {
				return
			}
		}
	}
}

// allowance is what the switch may need for the bundle that it is committing.
func (c *Conn) allowance() time.Duration {
	return time.Duration(c.busy.Load()) * c.timing.perMessage
}

// put writes whole messages; an error ends the connection, as half a message
// cannot be taken back.
func (c *Conn) put(b []byte) bool {
	bound := c.timing.write + c.allowance()
	c.nc.SetWriteDeadline(time.Now().Add(bound))
	if _, err := c.nc.Write(b); err != nil {
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			err = fmt.Errorf("%w: it has not read for %v", ErrNoAnswer, bound)
		}
		c.fail(fmt.Errorf("write: %w", err))
		return false
	}
	return true
}

// send hands bytes to the writer and waits until they are out. After an error the
// writer may still hold them.
func (c *Conn) send(ctx context.Context, b []byte) error {
	w := write{b, make(chan struct{})}
	select {
	case c.writes <- w:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.lost:
		return c.cause
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.lost:
		return c.cause
	}
}
