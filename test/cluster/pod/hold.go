package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
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
	// Beats went there and back on one TCP connection; the slowest took this long.
	Beats   int           `json:"beats"`
	Slowest time.Duration `json:"slowest"`
	// Broken is why the connection ended before its time.
	Broken string `json:"broken,omitempty"`
}

// hold pings a pod and keeps a TCP connection to it in use, until ctx ends.
func hold(ctx context.Context, address netip.Addr) held {
	var h held
	var wait sync.WaitGroup
	wait.Go(func() {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for ctx.Err() == nil {
			// Not cut short by ctx: the last one is no loss.
			if _, err := lab.Try(context.WithoutCancel(ctx), "icmp", netip.AddrPortFrom(address, 0)); err != nil {
				h.Lost++
			}
			h.Pings++
			<-ticker.C
		}
	})
	wait.Go(func() {
		if err := h.beats(ctx, netip.AddrPortFrom(address, echoPort)); err != nil {
			h.Broken = err.Error()
		}
	})
	wait.Wait()
	return h
}

func (h *held) beats(ctx context.Context, to netip.AddrPort) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
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
			_, _ = io.Copy(conn, conn)
		}()
	}
}
