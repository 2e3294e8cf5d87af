package db

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/sluice-cni/sluice/ovs/db/vswitch"
)

const (
	// openBound is how long Open and each later attempt to connect may take.
	openBound = 5 * time.Second
	// transactBound is how long a transaction may take, waiting for a connection included.
	transactBound = 10 * time.Second
	// waitBound is how long the Wait methods may take.
	waitBound = 30 * time.Second
	// firstRetry and lastRetry bound the pause between attempts to reconnect,
	// which doubles.
	firstRetry = 20 * time.Millisecond
	lastRetry  = 500 * time.Millisecond
)

// Client is a connection to ovsdb-server that comes back by itself. While it is
// away, reads answer with what was known last, and transactions wait for it
// within their bound. All methods may be called at the same time.
type Client struct {
	endpoint string
	log      *slog.Logger
	changes  chan struct{}
	stop     context.CancelFunc
	done     chan struct{}

	mu sync.Mutex
	// session is the last one; it has ended unless connected.
	session   *session
	connected bool
	// changed is closed, and another put in its place, at every change.
	changed chan struct{}
	// ports are closed, and taken out, at changes of the interfaces of these names. One
	// that waits for a port among many must not look at each of theirs.
	ports map[string]chan struct{}
}

// Open connects to the ovsdb-server behind the endpoint, "unix:" and the path of
// its socket, and returns when the content of the database is known. It tries
// once, for at most 5 s: the error names the socket, and says what to do. ctx
// bounds only this call; Close ends the client. What the connection goes through
// afterwards is logged.
func Open(ctx context.Context, endpoint string, log *slog.Logger) (*Client, error) {
	path, ok := strings.CutPrefix(endpoint, "unix:")
	if !ok || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("connect to ovsdb-server at %q: the endpoint must be unix: and an absolute path, such as unix:/var/run/openvswitch/db.sock", endpoint)
	}
	c := &Client{
		endpoint: endpoint,
		log:      log.With("endpoint", endpoint),
		changes:  make(chan struct{}, 1),
		done:     make(chan struct{}),
		changed:  make(chan struct{}),
		ports:    map[string]chan struct{}{},
	}
	s, err := c.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to ovsdb-server at %s: %w: is it running? (`systemctl status openvswitch-switch`)", path, err)
	}
	c.session, c.connected = s, true
	c.notify()
	var running context.Context
	running, c.stop = context.WithCancel(context.Background())
	go c.keep(running, s)
	return c, nil
}

// Close ends the connection and returns when nothing runs any more. What waits
// in other methods fails or runs into its bound.
func (c *Client) Close() {
	c.stop()
	<-c.done
}

// Connected tells whether there is a connection now, and the cache is current.
// A server that ends is noticed at once, one that hangs within 10 s.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connected
}

// Changes returns a channel that gives a value after something in the database
// or the state of the connection has changed, at least once since the last
// value was taken. It has one receiver and is never closed.
func (c *Client) Changes() <-chan struct{} { return c.changes }

// rowChanged wakes whoever waits for a change of the row.
func (c *Client) rowChanged(row model.Model) {
	if i, ok := row.(*vswitch.Interface); ok {
		c.mu.Lock()
		c.wakePort(i.Name)
		c.mu.Unlock()
	}
	c.wake()
}

// notify wakes whoever waits: all may be another.
func (c *Client) notify() {
	c.mu.Lock()
	for name := range c.ports {
		c.wakePort(name)
	}
	c.mu.Unlock()
	c.wake()
}

func (c *Client) wakePort(name string) {
	if waits, ok := c.ports[name]; ok {
		close(waits)
		delete(c.ports, name)
	}
}

func (c *Client) wake() {
	c.mu.Lock()
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	select {
	case c.changes <- struct{}{}:
	default:
	}
}

// next returns a channel that is closed at the next change. Take it before
// looking at the state: then no change is missed.
func (c *Client) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// nextOfPort is next for changes of the interface of that name, and of the connection.
func (c *Client) nextOfPort(name string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ports[name] == nil {
		c.ports[name] = make(chan struct{})
	}
	return c.ports[name]
}

// last returns the last session, for reading.
func (c *Client) last() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// live returns the session of a connection that is up, waiting for it as long as
// ctx allows.
func (c *Client) live(ctx context.Context) (*session, error) {
	for {
		next := c.next()
		c.mu.Lock()
		s, connected := c.session, c.connected
		c.mu.Unlock()
		if connected {
			return s, nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%s): %w", ErrNotConnected, c.endpoint, ctx.Err())
		}
	}
}

func (c *Client) dial(ctx context.Context) (*session, error) {
	bounded, cancel := context.WithTimeout(ctx, openBound)
	defer cancel()
	return dial(bounded, c.endpoint, c.rowChanged)
}

// keep holds a connection until ctx ends.
func (c *Client) keep(ctx context.Context, s *session) {
	defer close(c.done)
	for {
		why := s.watch(ctx)
		c.mu.Lock()
		c.connected = false
		c.mu.Unlock()
		s.close()
		c.notify()
		if ctx.Err() != nil {
			return
		}
		c.log.Warn("lost the connection to ovsdb-server, connecting again", "err", why)
		if s = c.redial(ctx); s == nil {
			return
		}
		c.mu.Lock()
		c.session, c.connected = s, true
		c.mu.Unlock()
		c.notify()
		c.log.Info("connected to ovsdb-server again")
	}
}

// redial tries until there is a connection; nil means that ctx ended first.
func (c *Client) redial(ctx context.Context) *session {
	said := ""
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		s, err := c.dial(ctx)
		if err == nil {
			return s
		}
		if text := err.Error(); text != said && ctx.Err() == nil {
			said = text
			c.log.Warn("cannot connect to ovsdb-server, trying on", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
