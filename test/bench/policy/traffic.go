package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/sluice-cni/sluice/ovs/netns"
)

const port = 80

// hammer sends a datagram every so often, as long as ctx lives; arrived is when the last came, in nanoseconds.
type hammer struct{ arrived atomic.Int64 }

// hammerEvery is how finely the last forbidden packet is told. Finer would take the processors from what is measured.
const hammerEvery = time.Millisecond

func newHammer(ctx context.Context, from, to string, address netip.Addr) (*hammer, error) {
	var in net.PacketConn
	var out net.Conn
	if err := netns.Do(to, func() (err error) {
		in, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
		return err
	}); err != nil {
		return nil, err
	}
	if err := netns.Do(from, func() (err error) {
		out, err = net.Dial("udp4", netip.AddrPortFrom(address, port).String())
		return err
	}); err != nil {
		return nil, err
	}
	h := &hammer{}
	context.AfterFunc(ctx, func() { in.Close(); out.Close() })
	go func() {
		buffer := make([]byte, 64)
		for {
			if _, _, err := in.ReadFrom(buffer); err != nil && ctx.Err() != nil {
				return
			}
			h.arrived.Store(time.Now().UnixNano())
		}
	}()
	go func() {
		for ctx.Err() == nil {
			_, _ = out.Write([]byte("x"))
			time.Sleep(hammerEvery)
		}
	}()
	return h, nil
}

// silentAfter waits until nothing has come for a while; it tells how long after a time the last came.
func (h *hammer) silentAfter(ctx context.Context, event time.Time, bound time.Duration) (time.Duration, error) {
	const quiet = 400 * time.Millisecond
	for {
		last := time.Unix(0, h.arrived.Load())
		switch {
		case time.Since(event) > quiet && time.Since(last) > quiet:
			return max(0, last.Sub(event)), nil
		case time.Since(event) > bound || ctx.Err() != nil:
			return 0, fmt.Errorf("packets still come %s after the event", time.Since(event))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// back waits until packets come again.
func (h *hammer) back(ctx context.Context, since time.Time, bound time.Duration) error {
	for h.arrived.Load() < since.UnixNano() {
		if time.Since(since) > bound || ctx.Err() != nil {
			return fmt.Errorf("no packet comes %s after the policy has gone", time.Since(since))
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// keepCached keeps so many cached flows in use: by address, and, the switch counting hops, by TTL.
func keepCached(ctx context.Context, from string, flows, pods int) error {
	var conn net.PacketConn
	if err := netns.Do(from, func() (err error) {
		conn, err = net.ListenPacket("udp4", ":0")
		return err
	}); err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	// Each within 3 s: a cached flow ends 10 s after its last packet.
	pause := 3 * time.Second / time.Duration(flows) * 20
	ttl := ipv4.NewPacketConn(conn)
	go func() {
		for i := 0; ctx.Err() == nil; i = (i + 1) % flows {
			if i%min(pods, flows) == 0 {
				_ = ttl.SetTTL(64 + i/pods)
			}
			_, _ = conn.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(elsewhere(i%pods), port)))
			if i%20 == 0 {
				time.Sleep(pause)
			}
		}
	}()
	return nil
}

// connections opens and closes TCP connections one after the other, and returns how many a second.
func connections(ctx context.Context, from, to string, address netip.Addr, lasting time.Duration) (float64, error) {
	var listener net.Listener
	if err := netns.Do(to, func() (err error) {
		listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	}); err != nil {
		return 0, err
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	n := 0
	began := time.Now()
	err := netns.Do(from, func() error {
		for time.Since(began) < lasting && ctx.Err() == nil {
			c, err := net.DialTimeout("tcp4", netip.AddrPortFrom(address, port).String(), 5*time.Second)
			if err != nil {
				return err
			}
			_ = c.(*net.TCPConn).SetLinger(0) // or ports run out
			c.Close()
			n++
		}
		return nil
	})
	return float64(n) / time.Since(began).Seconds(), err
}
