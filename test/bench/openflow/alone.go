package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-cni/sluice/ovs/openflow"
)

// Types of OpenFlow messages (the specification, enum ofp_type).
const (
	typeError          = 1
	typeMultipartReply = 19
	typeBundleControl  = 33
)

// raw is a connection to the switch that knows the frames of messages and nothing more.
type raw struct {
	net.Conn
	r *bufio.Reader
}

func (b *bench) raw(ctx context.Context) (*raw, error) {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "unix", b.ovs.MgmtSocket(bridge))
	if err != nil {
		return nil, err
	}
	return &raw{nc, bufio.NewReaderSize(nc, 1<<16)}, nil
}

// until reads messages until one is the last that is waited for; an error ends it.
func (c *raw) until(last func(typ byte, body []byte) bool) error {
	for {
		typ, body, err := frame(c.r)
		switch {
		case err != nil:
			return err
		case typ == typeError:
			return fmt.Errorf("the switch refuses: % x", body[:min(len(body), 40)])
		case last(typ, body):
			return nil
		}
	}
}

func frame(r io.Reader) (typ byte, body []byte, err error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	body = make([]byte, max(int(binary.BigEndian.Uint16(head[2:]))-len(head), 0))
	_, err = io.ReadFull(r, body)
	return head[1], body, err
}

// switchAlone asks for all flows and reads the answer without looking into it: what of
// a dump is the switch's own time and the socket's.
func (b *bench) switchAlone(ctx context.Context) error {
	c, err := b.raw(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	hello := []byte{6, 0, 0, 16, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 1 << 6}
	request := slices.Concat(
		[]byte{6, 18, 0, 56, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0}, // multipart request, type 1: flow descriptions
		[]byte{0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		make([]byte, 16), []byte{0, 1, 0, 4, 0, 0, 0, 0}, // any cookie, any match
	)
	if _, err := c.Write(append(hello, request...)); err != nil {
		return err
	}
	return c.until(func(typ byte, body []byte) bool { return typ == typeMultipartReply && body[3]&1 == 0 })
}

// record makes a change through a relay and returns all that was sent for it, from the
// hello on.
func (b *bench) record(ctx context.Context, change openflow.Change) (sent []byte, err error) {
	path := filepath.Join(b.dir, "relay")
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	relayed := make(chan []byte, 1)
	go func() {
		defer close(relayed)
		from, err := l.Accept()
		if err != nil {
			return
		}
		defer from.Close()
		to, err := b.raw(ctx)
		if err != nil {
			return
		}
		defer to.Close()
		go io.Copy(from, to) //nolint:errcheck // the other direction tells
		var list []byte
		for piece := make([]byte, 1<<16); ; {
			n, err := from.Read(piece)
			list = append(list, piece[:n]...)
			if err != nil {
				relayed <- list
				return
			}
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
	}()
	c, err := openflow.Dial(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	err = c.Apply(ctx, change)
	if closed := c.Close(); err == nil {
		err = closed
	}
	sent, ok := <-relayed
	if err == nil && !ok {
		err = fmt.Errorf("the relay to %s broke", b.ovs.MgmtSocket(bridge))
	}
	return sent, err
}

// replay sends what was recorded and tells how long the switch took until the bundle
// was committed.
func (b *bench) replay(ctx context.Context, sent []byte) (time.Duration, error) {
	c, err := b.raw(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return timed(func() error {
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(sent)
			written <- err
		}()
		const commitReply = 5
		if err := c.until(func(typ byte, body []byte) bool {
			return typ == typeBundleControl && binary.BigEndian.Uint16(body[4:]) == commitReply
		}); err != nil {
			return err
		}
		return <-written
	})
}
