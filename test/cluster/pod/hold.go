package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
)

// echoPort is where a pod sends back what it is sent.
const echoPort = 8082

// beat is how often a held connection is used.
const beat = 10 * time.Millisecond

// held is what was seen of a peer for a while.
type held struct {
	Pings int `json:"pings"`
	Lost  int `json:"lost"`
	// LostAt are when those were sent.
	LostAt []time.Time `json:"lostAt,omitempty"`
	// Beats went there and back on one TCP connection; the slowest took this long.
	Beats   int           `json:"beats"`
	Slowest time.Duration `json:"slowest"`
	// Broken is why the connection ended before its time.
	Broken string `json:"broken,omitempty"`
}

func holdUntilEOF(ctx context.Context, to string) error {
	address, err := netip.ParseAddr(to)
	if err != nil {
		return err
	}
	h, err := hold(untilEOF(ctx), address)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(h)
}

// hold pings a pod and keeps a TCP connection to it in use, until ctx ends.
func hold(ctx context.Context, address netip.Addr) (held, error) {
	var h held
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(address, echoPort).String())
	if err != nil {
		return h, err
	}
	defer conn.Close()
	begun()
	var wait sync.WaitGroup
	wait.Go(func() {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for ctx.Err() == nil {
			// Not cut short by ctx: the last one is no loss.
			at := time.Now()
			if _, err := lab.Try(context.WithoutCancel(ctx), "icmp", netip.AddrPortFrom(address, 0)); err != nil {
				h.Lost, h.LostAt = h.Lost+1, append(h.LostAt, at)
			}
			h.Pings++
			<-ticker.C
		}
	})
	wait.Go(func() {
		if err := h.beats(ctx, conn); err != nil {
			h.Broken = err.Error()
		}
	})
	wait.Wait()
	return h, nil
}

func (h *held) beats(ctx context.Context, conn net.Conn) error {
	for ctx.Err() == nil {
		began := time.Now()
		conn.SetDeadline(began.Add(30 * time.Second))
		text := fmt.Sprintf("%08d", h.Beats)
		if _, err := io.WriteString(conn, text); err != nil {
			return err
		}
		back := make([]byte, len(text))
		if _, err := io.ReadFull(conn, back); err != nil {
			return err
		}
		if string(back) != text {
			return fmt.Errorf("%q came back of %q", back, text)
		}
		h.Beats++
		h.Slowest = max(h.Slowest, time.Since(began))
		time.Sleep(beat)
	}
	return nil
}

// echo sends back what it is sent, until ctx ends.
func echo(ctx context.Context) error {
	listener, err := net.Listen("tcp", fmt.Sprint(":", echoPort))
	if err != nil {
		return err
	}
	return accept(ctx, listener, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
}

// accept serves each connection by itself, until ctx ends; it closes the listener.
func accept(ctx context.Context, listener net.Listener, serve func(net.Conn)) error {
	context.AfterFunc(ctx, func() { listener.Close() })
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			serve(conn)
		}()
	}
}
