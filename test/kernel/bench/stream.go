package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
)

const (
	// patience is how long a call on a socket waits; then its caller looks around.
	patience = 200 * time.Millisecond
	// connectBound is how long a connection may take to be established.
	connectBound = 20 * time.Second
	// receiveBuffer, in bytes, is large enough for what comes while the receiver is
	// not on a CPU.
	receiveBuffer = 4 << 20
)

// end is where a stream begins or ends.
type end struct {
	netns   string
	address netip.Addr
}

// kind is a kind of stream.
type kind struct {
	key, title, unit string
	// socket is SOCK_STREAM or SOCK_DGRAM.
	socket int
	// size is how many bytes are written at once.
	size int
	// scale makes a rate in the unit of bytes (SOCK_STREAM) or datagrams a second.
	scale float64
}

var (
	tcp   = kind{"tcp", "TCP", "Mbit/s", unix.SOCK_STREAM, 128 << 10, 8e-6}
	udp   = kind{"udp64", "UDP, 64 bytes", "datagrams/s", unix.SOCK_DGRAM, 64, 1}
	kinds = []kind{tcp, udp}
)

// result is what was received, in the kind's unit, and which part of what was sent
// meanwhile was not.
type result struct{ rate, lost float64 }

// measure sends as fast as it can for a while, and counts what arrives after it has
// been warm. The connection is established, both ways, before.
func (k kind) measure(from, to end, warm, duration time.Duration) (result, error) {
	sender, receiver, err := k.connect(from, to)
	if err != nil {
		return result{}, err
	}
	defer unix.Close(sender)
	defer unix.Close(receiver)
	var sent, received counter
	var stop atomic.Bool
	var wait sync.WaitGroup
	wait.Go(func() {
		buffer := make([]byte, k.size)
		sent.run(k, func() (int, error) { return unix.Write(sender, buffer) }, stop.Load)
		stop.Store(true) // also if it broke
		_ = unix.Shutdown(sender, unix.SHUT_WR)
	})
	wait.Go(func() {
		buffer := make([]byte, max(k.size, 2048))
		// TCP is read to its end, or the sender would wait.
		received.run(k, func() (int, error) { return unix.Read(receiver, buffer) }, func() bool { return k == udp && stop.Load() })
	})
	time.Sleep(warm)
	began, sentBefore, receivedBefore := time.Now(), sent.n.Load(), received.n.Load()
	time.Sleep(duration)
	took, out, in := time.Since(began).Seconds(), sent.n.Load()-sentBefore, received.n.Load()-receivedBefore
	stop.Store(true)
	wait.Wait()
	switch {
	case sent.err != nil:
		return result{}, fmt.Errorf("send: %w", sent.err)
	case received.err != nil:
		return result{}, fmt.Errorf("receive: %w", received.err)
	case in == 0:
		return result{}, fmt.Errorf("nothing arrived in %s", duration)
	}
	return result{rate: float64(in) / took * k.scale, lost: max(0, 1-float64(in)/float64(out))}, nil
}

// counter counts what a loop of calls moves: bytes of a stream, or datagrams.
type counter struct {
	n   atomic.Int64
	err error
}

// run calls until the stream ends, or done says so.
func (c *counter) run(k kind, call func() (int, error), done func() bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for !done() {
		n, err := call()
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS):
		case err != nil:
			c.err = err
			return
		case n == 0:
			return
		case k == udp:
			c.n.Add(1)
		default:
			c.n.Add(int64(n))
		}
	}
}

// connect opens a socket at each end, connected to the other; each has heard of the
// other, so that connection tracking knows them as established.
func (k kind) connect(from, to end) (sender, receiver int, err error) {
	server, err := k.open(to)
	if err != nil {
		return 0, 0, err
	}
	sender, err = k.open(from)
	if err != nil {
		unix.Close(server)
		return 0, 0, err
	}
	if receiver, err = k.meet(sender, server); err != nil {
		unix.Close(sender)
		unix.Close(server)
		return 0, 0, fmt.Errorf("connect %s to %s: %w", from.address, to.address, err)
	}
	if receiver != server {
		unix.Close(server)
	}
	return sender, receiver, nil
}

// meet connects the sender to the server, and returns the server's end of it.
func (k kind) meet(sender, server int) (int, error) {
	at, err := unix.Getsockname(server)
	if err != nil {
		return 0, err
	}
	until := time.Now().Add(connectBound)
	if k == tcp {
		if err := unix.Listen(server, 1); err != nil {
			return 0, err
		}
		if err := again(until, func() error { return ignoreConnected(unix.Connect(sender, at)) }); err != nil {
			return 0, err
		}
		var conn int
		err = again(until, func() (err error) {
			conn, _, err = unix.Accept4(server, unix.SOCK_CLOEXEC)
			return err
		})
		return conn, err
	}
	if err := unix.Connect(sender, at); err != nil {
		return 0, err
	}
	hello := make([]byte, k.size)
	err = again(until, func() error {
		if _, err := unix.Write(sender, hello); err != nil {
			return err
		}
		_, client, err := unix.Recvfrom(server, hello, 0)
		if err != nil {
			return err
		}
		return unix.Connect(server, client)
	})
	if err != nil {
		return 0, err
	}
	return server, again(until, func() error {
		if _, err := unix.Write(server, hello); err != nil {
			return err
		}
		_, err := unix.Read(sender, hello)
		return err
	})
}

// again calls until there is no error of waiting too long.
func again(until time.Time, call func() error) error {
	for {
		err := call()
		waits := errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EALREADY)
		if !waits {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("not within %s: %w", connectBound, err)
		}
	}
}

// ignoreConnected: a connect that goes on after a time-out may find that it is done.
func ignoreConnected(err error) error {
	if errors.Is(err, unix.EISCONN) {
		return nil
	}
	return err
}

// open opens a socket with the end's address and a port of its own. It stays in the
// end's namespace; its calls block, for patience at most, and need no poller.
func (k kind) open(e end) (fd int, err error) {
	err = netns.Do(e.netns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, k.socket|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("open a socket in %s: %w", e.netns, err)
	}
	bound := unix.NsecToTimeval(patience.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &bound),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &bound),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: e.address.As4()}),
	)
	if k == udp {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer))
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("prepare a socket at %s: %w", e.address, err)
	}
	return fd, nil
}
