package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
)

// acceptor accepts connections and closes them.
type acceptor struct {
	listener net.Listener
	// last is when the last one came, in nanoseconds.
	last atomic.Int64
}

func accept(ctx context.Context, namespace string, port int) (*acceptor, error) {
	a := &acceptor{}
	if err := netns.Do(namespace, func() (err error) {
		a.listener, err = new(net.ListenConfig).Listen(ctx, "tcp4", fmt.Sprintf(":%d", port))
		return err
	}); err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := a.listener.Accept()
			if err != nil {
				return
			}
			a.last.Store(time.Now().UnixNano())
			c.Close()
		}
	}()
	return a, nil
}

func (a *acceptor) stop() { a.listener.Close() }
