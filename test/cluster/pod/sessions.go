package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// sessionPort is where a pod tells its name, and then sends back what it is sent.
const sessionPort = 8083

// drainQuiet is how long nobody may have connected for a pod that is to end to take it that
// nobody is led to it any more.
const drainQuiet = 3 * time.Second

// sessions serves connections by TCP.
type sessions struct {
	// quiet is drainQuiet, less in tests.
	quiet time.Duration
	// last is when the last one was opened, as UnixNano.
	last atomic.Int64
}

// serve goes on until ctx ends; it closes the listener.
func (s *sessions) serve(ctx context.Context, listener net.Listener, name string) error {
	return accept(ctx, listener, func(conn net.Conn) {
		s.last.Store(time.Now().UnixNano())
		if _, err := fmt.Fprintln(conn, name); err == nil {
			_, _ = io.Copy(conn, conn)
		}
	})
}

// drained ends after ctx has, when nobody opens sessions any more: a server that is told to
// end (SIGTERM) is known to clients as one that goes, but not at once.
func (s *sessions) drained(ctx context.Context) context.Context {
	out, end := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		s.last.Store(max(s.last.Load(), time.Now().UnixNano()))
		for {
			left := s.quiet - time.Since(time.Unix(0, s.last.Load()))
			if left <= 0 {
				break
			}
			time.Sleep(left)
		}
		end()
	})
	return out
}
