package openflow

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-cni/sluice/flows"
)

// quick is normal in short.
var quick = timing{
	answer: 400 * time.Millisecond, tick: 10 * time.Millisecond, quiet: 3, silent: 9,
	write: 100 * time.Millisecond, perMessage: 10 * time.Microsecond,
}

// fakeSwitch serves one connection as the script says, then closes it.
func fakeSwitch(t *testing.T, script func(nc net.Conn)) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "fake")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		script(nc)
	}()
	t.Cleanup(func() {
		l.Close()
		<-served
		os.RemoveAll(dir)
	})
	return socket
}

// reply is a message of the fake switch.
func reply(k kind, xid uint32, body ...byte) []byte { return frame(k, xid, body) }

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

// oneFlow is a whole dump of one flow, as Open vSwitch sends it.
func oneFlow(xid uint32) []byte {
	var e encoder
	start := e.begin(kindMultipartReply, xid)
	e.u16(multipartFlowDesc)
	e.zero(6)
	desc := len(e.b)
	e.zero(2 + 2)
	e.u8(3)
	e.zero(1)
	e.u16(7)
	e.zero(8)
	e.u64(9)
	e.match(flows.Match{}.InPort(3))
	e.bytes([]byte{0, 0, 0, 4, 0, 0, 0, 0}) // no counters
	e.instructions([]flows.Action{flows.Set(flows.Reg1, flows.Uint(7)), flows.Goto{Table: 4}}, protoAny)
	e.length(desc, desc)
	e.end(start)
	return e.b
}

// wellBehaved is how a switch answers.
func wellBehaved(m message) []byte {
	switch m.kind {
	case kindHello:
		return hello()
	case kindFeaturesRequest:
		return reply(kindFeaturesReply, m.xid, make([]byte, 24)...)
	case kindEchoRequest:
		return reply(kindEchoReply, m.xid, m.body...)
	case kindBarrierRequest:
		return reply(kindBarrierReply, m.xid)
	case kindMultipartRequest:
		return oneFlow(m.xid)
	case kindBundleControl:
		body := bytes.Clone(m.body)
		body[5]++ // each reply's type is its request's plus one
		return reply(kindBundleControl, m.xid, body...)
	}
	return nil
}

// answering serves with a function from messages to answers; nil answers nothing.
func answering(answer func(m message) []byte) func(nc net.Conn) {
	return func(nc net.Conn) {
		frames := newFrameReader(nc)
		for {
			m, err := frames.next()
			if err != nil {
				return
			}
			if _, err := nc.Write(answer(m)); err != nil {
				return
			}
		}
	}
}

// except is wellBehaved but for one kind of message.
func except(k kind, answer func(m message) []byte) func(nc net.Conn) {
	return answering(func(m message) []byte {
		if m.kind == k {
			return answer(m)
		}
		return wellBehaved(m)
	})
}

var someFlow = flows.Flow{Table: 3, Priority: 7, Cookie: 9, Match: flows.Match{}.InPort(3)}

// talk dials and calls everything; it returns the first error. It must return
// soon, whatever the switch does.
func talk(t *testing.T, socket string) error {
	t.Helper()
	start := time.Now()
	defer func() {
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("it took %v", d)
		}
	}()
	c, err := dial(t.Context(), socket, nil, quick)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Apply(t.Context(), Change{Add: []flows.Flow{someFlow}}); err != nil {
		return err
	}
	if _, err := c.Dump(t.Context()); err != nil {
		return err
	}
	return c.Barrier(t.Context())
}

func TestWellBehavedSwitch(t *testing.T) {
	if err := talk(t, fakeSwitch(t, answering(wellBehaved))); err != nil {
		t.Fatal(err)
	}
}

func TestSwitchThatMisbehavesIsAClearError(t *testing.T) {
	write := func(b ...byte) func(net.Conn) {
		return func(nc net.Conn) {
			nc.Write(b)
			io.Copy(io.Discard, nc)
		}
	}
	silent := func(message) []byte { return nil }
	garbage := func(m message) []byte { return reply(kindMultipartReply, m.xid, []byte("this is no answer at all")...) }
	refuse := func(m message) []byte {
		return reply(kindError, m.xid, 0, 1, 0, 5)
	}
	other := func(m message) []byte { return reply(kindEchoReply, m.xid) }
	control := func(typ uint16, answer func(m message) []byte) func(net.Conn) {
		return except(kindBundleControl, func(m message) []byte {
			if binary.BigEndian.Uint16(m.body[4:]) == typ {
				return answer(m)
			}
			return wellBehaved(m)
		})
	}
	for _, tc := range []struct {
		what   string
		script func(net.Conn)
		want   string // in the error
	}{
		{"says nothing", write(), "wait for its hello"},
		{"closes at once", func(net.Conn) {}, ""},
		{"greets with half a hello", write(hello()[:5]...), "wait for its hello"},
		{"greets with noise", write(bytes.Repeat([]byte{0xff}, 0x10000)...), "OFPT_HELLO"},
		{"greets with something else", write(reply(kindBarrierReply, 1)...), "instead of OFPT_HELLO"},
		{"greets with a length below the header's", write(6, 0, 0, 7, 0, 0, 0, 0), "less than its header"},
		{"greets with an older version", write(4, 0, 0, 8, 0, 0, 0, 0), "only up to version 4: add OpenFlow15"},
		{"greets with a bitmap of older versions", write(6, 0, 0, 16, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0x12), "only up to version 4: add OpenFlow15"},
		{"greets with a bitmap of wrong length", write(6, 0, 0, 16, 0, 0, 0, 0, 0, 1, 0, 90, 0, 0, 0, 0x12), "OFPT_HELLO"},
		{"refuses the hello", write(reply(kindError, 1, 0, 0, 0, 0, 'n', 'o')...), `OFPHFC_INCOMPATIBLE: "no"`},
		{"goes on in another version", except(kindFeaturesRequest, func(m message) []byte { return []byte{4, 6, 0, 8, 0, 0, 0, 1} }), "OpenFlow version 4"},
		{"has short features", except(kindFeaturesRequest, func(m message) []byte { return reply(kindFeaturesReply, m.xid, 1) }), "wait for OFPT_FEATURES_REPLY"},
		{"has no features", except(kindFeaturesRequest, silent), "wait for OFPT_FEATURES_REPLY"},
		{"answers with the wrong transaction", except(kindFeaturesRequest, func(m message) []byte { return reply(kindFeaturesReply, m.xid+1) }), "did not answer in time"},
		{"sends half a message", except(kindMultipartRequest, func(m message) []byte { return oneFlow(m.xid)[:20] }), "silent"},
		{"sends a message shorter than its header", except(kindMultipartRequest, func(m message) []byte { return []byte{6, 19, 0, 1, 0, 0, 0, 1} }), "less than its header"},
		{"dumps garbage", except(kindMultipartRequest, garbage), "dump flows"},
		{"dumps groups instead", except(kindMultipartRequest, func(m message) []byte { return reply(kindMultipartReply, m.xid, 0, 7, 0, 0, 0, 0, 0, 0) }), "type 7 instead of 1"},
		{"refuses the dump", except(kindMultipartRequest, refuse), "dump flows: wait for the rest of the reply after 0 entries: the switch refuses: OFPBRC_EPERM"},
		{"answers the dump with something else", except(kindMultipartRequest, other), "OFPT_ECHO_REPLY instead"},
		{"never dumps", except(kindMultipartRequest, silent), "dump flows: wait for the rest of the reply after 0 entries: the switch did not answer in time"},
		{"never ends the dump", except(kindMultipartRequest, func(m message) []byte {
			b := oneFlow(m.xid)
			b[headerLen+3] |= byte(multipartMore)
			return b
		}), "after 1 entries"},
		{"answers no echo", answering(func(m message) []byte {
			if m.kind == kindEchoRequest || m.kind == kindMultipartRequest {
				return nil
			}
			return wellBehaved(m)
		}), "an echo is not answered"},
		{"refuses a bundle", control(bundleOpen, refuse), "open a bundle: the switch refuses: OFPBRC_EPERM"},
		{"refuses a flow", except(kindBundleAdd, refuse), "table=3, priority=7,in_port=3"},
		{"never takes the flows", control(bundleClose, silent), "wait until the switch has taken 1 messages"},
		{"takes the flows of another bundle", control(bundleClose, func(m message) []byte {
			return reply(kindBundleControl, m.xid, 0, 0, 0, 99, 0, 3, 0, 0)
		}), "answer 3 for bundle 99"},
		{"answers half the close", control(bundleClose, func(m message) []byte { return reply(kindBundleControl, m.xid, 0) }), "OFPT_BUNDLE_CONTROL"},
		{"refuses to commit", control(bundleCommit, refuse), "nothing has been changed: the switch refuses"},
		{"never commits", control(bundleCommit, silent), "commit 1 messages: the connection to the switch is lost"},
		{"closes instead of committing", func(nc net.Conn) {
			frames := newFrameReader(nc)
			for {
				m, err := frames.next()
				if err != nil || (m.kind == kindBundleControl && m.body[5] == byte(bundleCommit)) {
					return
				}
				nc.Write(wellBehaved(m))
			}
		}, "commit 1 messages: the connection to the switch is lost"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			t.Parallel()
			err := talk(t, fakeSwitch(t, tc.script))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestSwitchMayCloseAtAnyByte cuts the switch's half of a conversation everywhere.
func TestSwitchMayCloseAtAnyByte(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		left := n
		err := talk(t, fakeSwitch(t, func(nc net.Conn) {
			frames := newFrameReader(nc)
			for {
				m, err := frames.next()
				if err != nil {
					return
				}
				b := wellBehaved(m)
				if len(b) > left {
					nc.Write(b[:left])
					return
				}
				left -= len(b)
				nc.Write(b)
			}
		}))
		if err == nil {
			if n < 200 {
				t.Errorf("no error after %d bytes", n)
			}
			return
		}
		if n > 10_000 {
			t.Fatal("it never has enough")
		}
	}
}

// TestAnyBitOfTheSwitchMayFlip lets no call hang, nor anything panic. Most of the
// time goes by waiting, so many conversations are held at once.
func TestAnyBitOfTheSwitchMayFlip(t *testing.T) {
	t.Parallel()
	var together errgroup.Group
	together.SetLimit(50)
	for n := range 8 * 250 {
		together.Go(func() error {
			at := 0
			talk(t, fakeSwitch(t, answering(func(m message) []byte {
				b := wellBehaved(m)
				if i := n/8 - at; i >= 0 && i < len(b) {
					b[i] ^= 1 << (n % 8)
				}
				at += len(b)
				return b
			})))
			return nil
		})
	}
	together.Wait()
}

func TestSwitchThatDoesNotReadIsLost(t *testing.T) {
	release := make(chan struct{})
	socket := fakeSwitch(t, func(nc net.Conn) {
		frames := newFrameReader(nc)
		for range 2 {
			m, _ := frames.next()
			nc.Write(wellBehaved(m))
		}
		<-release
	})
	defer close(release)
	c, err := dial(t.Context(), socket, nil, quick)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	many := make([]flows.Flow, 100_000)
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := c.Apply(ctx, Change{Add: many}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "of 100000") {
		t.Errorf("%v", err)
	}
	if d := time.Since(start); d > 90*time.Millisecond {
		t.Errorf("it took %v beyond its context", d)
	}
	if err := c.Apply(t.Context(), Change{Add: many}); !errors.Is(err, ErrLost) || !errors.Is(err, ErrNoAnswer) {
		t.Errorf("%v", err)
	}
}

// TestFloodOfEchoesStopsNothing: their answers are dropped when they cannot go out.
func TestFloodOfEchoesStopsNothing(t *testing.T) {
	socket := fakeSwitch(t, func(nc net.Conn) {
		frames := newFrameReader(nc)
		for range 2 {
			m, _ := frames.next()
			nc.Write(wellBehaved(m))
		}
		for range 10_000 {
			if _, err := nc.Write(reply(kindEchoRequest, 5, make([]byte, 1000)...)); err != nil {
				return
			}
		}
		answering(wellBehaved)(nc)
	})
	c, err := dial(t.Context(), socket, nil, normal)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Barrier(t.Context()); err != nil {
		t.Error(err)
	}
}
