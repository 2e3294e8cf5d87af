package main

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/sluice-cni/sluice/cni/wire"
)

// answerMargin is for an agent whose time is up to take back what it did and to say
// what it waited for.
const answerMargin = 2 * time.Second

// ask sends a request to the agent and waits for its response: for a sign of life until
// alive, then for as long as the request says, and a little longer. The error says in
// words what went wrong, with the socket's path.
func ask(socket string, req *wire.Request, alive time.Duration) (*wire.Response, error) {
	began := time.Now()
	c, err := dial(socket, began.Add(alive))
	if err != nil {
		return nil, fmt.Errorf("cannot reach the Sluice agent at %s: %w", socket, err)
	}
	defer c.close()
	// An agent that refuses a request half way answers before it closes.
	sent := wire.WriteRequest(c, req)
	if sent != nil && !errors.Is(sent, syscall.EPIPE) {
		if errors.Is(sent, errTimeout) {
			return nil, fmt.Errorf("the Sluice agent at %s hangs: it has not read %s within %v", socket, req.Command, alive)
		}
		return nil, fmt.Errorf("cannot send to the Sluice agent at %s: %w", socket, sent)
	}
	resp, err := wire.ReadResponse(c)
	received := err == nil && resp.Received
	if received {
		c.deadline = began.Add(req.Timeout() + answerMargin)
		resp, err = wire.ReadResponse(c)
	}
	switch {
	case err == nil:
		return resp, nil
	case errors.Is(err, errTimeout):
		if received {
			return nil, fmt.Errorf("the Sluice agent at %s is at work on %s and has not ended it in %v", socket, req.Command, time.Since(began).Round(time.Millisecond))
		}
		return nil, fmt.Errorf("the Sluice agent at %s hangs: no sign of life within %v of %s", socket, alive, req.Command)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return nil, fmt.Errorf("the Sluice agent at %s hung up before it answered %s: %w", socket, req.Command, errors.Join(err, sent))
	}
	return nil, fmt.Errorf("the Sluice agent at %s answered %s with something else: %w", socket, req.Command, err)
}

// errTimeout is returned when the deadline has passed.
var errTimeout = errors.New("timed out")

// conn is a unix stream socket by system calls alone, whose every call is bounded by
// the deadline.
type conn struct {
	fd       int
	deadline time.Time
}

func dial(path string, deadline time.Time) (*conn, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd, deadline: deadline}
	// Connecting waits as long as sending may, when the agent's backlog is full.
	if err := c.bound(syscall.SO_SNDTIMEO); err != nil {
		c.close()
		return nil, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		c.close()
		if err == syscall.EINVAL {
			return nil, errors.New("the path is longer than a unix socket's can be (107 bytes)")
		}
		return nil, again(err)
	}
	return c, nil
}

func (c *conn) close() { syscall.Close(c.fd) }

// bound sets what remains until the deadline as the timeout of the next call.
func (c *conn) bound(option int) error {
	left := time.Until(c.deadline)
	if left <= 0 {
		return errTimeout
	}
	// A timeout of zero would mean none.
	tv := syscall.NsecToTimeval(max(left, time.Millisecond).Nanoseconds())
	return syscall.SetsockoptTimeval(c.fd, syscall.SOL_SOCKET, option, &tv)
}

// Read is io.Reader's.
func (c *conn) Read(p []byte) (int, error) {
	for {
		if err := c.bound(syscall.SO_RCVTIMEO); err != nil {
			return 0, err
		}
		n, err := syscall.Read(c.fd, p)
		switch {
		case err == syscall.EINTR: // the Go runtime's own signals
			continue
		case err != nil:
			return 0, again(err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Write is io.Writer's.
func (c *conn) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		if err := c.bound(syscall.SO_SNDTIMEO); err != nil {
			return written, err
		}
		n, err := syscall.Write(c.fd, p[written:])
		if err != nil && err != syscall.EINTR {
			return written, again(err)
		}
		written += max(n, 0)
	}
	return written, nil
}

// again tells the kernel's word for a timeout from other errors.
func again(err error) error {
	if errors.Is(err, syscall.EAGAIN) {
		return errTimeout
	}
	return err
}
