package openflow

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
		typ := binary.BigEndian.Uint16(m.body)
		if typ == multipartFlowDesc {
			return oneFlow(m.xid)
		}
		return withXID(m.xid, recordings()[fmt.Sprintf("multipart-%d", typ)])
	case kindMeterMod:
		return recordings()["multipart-16-unasked"]
	case kindPacketOut:
		return recordings()["nicira-30"]
	case kindBundleControl:
		body := bytes.Clone(m.body)
		body[5]++ // each reply's type is its request's plus one
		return reply(kindBundleControl, m.xid, body...)
	}
	return nil
}

// recordings are the recorded messages by their names, the tables' counters cut to
// those of two tables.
var recordings = sync.OnceValue(func() map[string][]byte {
	all := map[string][]byte{}
	list, err := os.ReadDir("testdata/recorded")
	if err != nil {
		panic(err)
	}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join("testdata/recorded", e.Name()))
		if err != nil {
			panic(err)
		}
		all[e.Name()] = b
	}
	const short = headerLen + 8 + 2*24
	tables := all["multipart-3"][:short]
	binary.BigEndian.PutUint16(tables[2:], short)
	all["multipart-3"] = tables
	return all
})

// withXID is a recorded message as the answer to a request.
func withXID(xid uint32, b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) >= headerLen {
		binary.BigEndian.PutUint32(b[4:], xid)
	}
	return b
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

// converse is talk about everything.
func converse(t *testing.T, socket string) error {
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*quick.answer)
	defer cancel()
	return everything(ctx, c, func(PacketIn) {})
}

func TestWellBehavedSwitch(t *testing.T) {
	noLeak(t)
	if err := converse(t, fakeSwitch(t, answering(wellBehaved))); err != nil {
		t.Error(err)
	}
	if err := talk(t, fakeSwitch(t, answering(wellBehaved))); err != nil {
		t.Fatal(err)
	}
}

func TestSwitchThatMisbehavesIsAClearError(t *testing.T) {
	noLeak(t)
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

// TestEveryRequestHasABoundAndAnErrorThatNamesIt spoils the answers to one kind of
// request after the other.
func TestEveryRequestHasABoundAndAnErrorThatNamesIt(t *testing.T) {
	noLeak(t)
	multipart := func(typ uint16) func(message) bool {
		return func(m message) bool {
			return m.kind == kindMultipartRequest && binary.BigEndian.Uint16(m.body) == typ
		}
	}
	of := func(k kind) func(message) bool { return func(m message) bool { return m.kind == k } }
	spoils := map[string]func(m message) []byte{
		"nothing":  func(message) []byte { return nil },
		"an error": func(m message) []byte { return reply(kindError, m.xid, 0, 1, 0, 5) },
		"garbage":  func(m message) []byte { return reply(kindMultipartReply, m.xid, []byte("this is no answer at all")...) },
		"half an entry": func(m message) []byte {
			return reply(kindMultipartReply, m.xid, append(bytes.Clone(m.body[:8]), 0, 9, 0)...)
		},
		"an entry of no length": func(m message) []byte {
			return reply(kindMultipartReply, m.xid, append(bytes.Clone(m.body[:8]), make([]byte, 8)...)...)
		},
		"another kind": func(m message) []byte { return reply(kindFeaturesReply, m.xid) },
	}
	for what, tc := range map[string]struct {
		is   func(message) bool
		only string // the one spoil that is to be noticed; empty: all
	}{
		"watch the flows":              {multipart(multipartFlowMonitor), ""},
		"dump flows":                   {multipart(multipartFlowDesc), ""},
		"dump groups":                  {multipart(multipartGroupDesc), ""},
		"dump meters":                  {multipart(multipartMeterDesc), ""},
		"ask for the meters' features": {multipart(multipartMeterFeatures), ""},
		"read the meters' counters":    {multipart(multipartMeterStats), ""},
		"read the groups' counters":    {multipart(multipartGroupStats), ""},
		"read the tables' counters":    {multipart(multipartTableStats), ""},
		"read the ports' counters":     {multipart(multipartPortStats), ""},
		"describe the ports":           {multipart(multipartPortDesc), ""},
		"receive packets: wait until":  {of(kindBarrierRequest), "nothing"},
		"receive packets":              {of(kindSetAsync), "an error"},
		"put 1 meters":                 {of(kindMeterMod), "an error"},
		"send a packet":                {of(kindPacketOut), "an error"},
		"wait for a packet: none came": {of(kindPacketOut), "nothing"},
		"resume a packet":              {func(m message) bool { return m.kind == kindExperimenter && m.body[7] == byte(niciraResume) }, "an error"},
	} {
		for with, spoil := range spoils {
			if tc.only != "" && tc.only != with {
				continue
			}
			t.Run(what+" answered by "+with, func(t *testing.T) {
				t.Parallel()
				err := converse(t, fakeSwitch(t, answering(func(m message) []byte {
					if tc.is(m) {
						return spoil(m)
					}
					return wellBehaved(m)
				})))
				tolerable := with == "an entry of no length" && strings.Contains(what, "tables") // 8 bytes are less than one
				if err == nil && !tolerable || err != nil && !strings.Contains(err.Error(), what) {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// TestMalformedNewsEndsNothing: what comes unasked and cannot be read is dropped, and
// of the flows a dump is asked for.
func TestMalformedNewsEndsNothing(t *testing.T) {
	noLeak(t)
	var ours []byte
	for _, name := range []string{"nicira-30", "packet-in", "multipart-16-unasked"} {
		whole := recordings()[name]
		for n := headerLen; n < len(whole); n++ {
			b := bytes.Clone(whole[:n])
			binary.BigEndian.PutUint16(b[2:], uint16(n))
			ours = append(ours, b...)
		}
	}
	c, err := dial(t.Context(), fakeSwitch(t, answering(func(m message) []byte {
		if m.kind == kindPacketOut {
			return ours
		}
		return wellBehaved(m)
	})), nil, quick)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	packets, err := c.Packets(t.Context(), ReasonAction)
	if err != nil {
		t.Fatal(err)
	}
	events, err := c.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SendPacket(t.Context(), somePacket); err != nil {
		t.Fatal(err)
	}
	if c.PacketsDropped() == 0 || len(packets) == 0 {
		t.Errorf("%d packets, %d dropped", len(packets), c.PacketsDropped())
	}
	if e := arrives(t, events); e.Kind != FlowsResync {
		t.Errorf("%+v", e)
	}
}

// TestSwitchMayCloseAtAnyByte cuts the switch's half of a conversation everywhere.
func TestSwitchMayCloseAtAnyByte(t *testing.T) {
	noLeak(t)
	for n := 0; ; n++ {
		left := n
		err := converse(t, fakeSwitch(t, func(nc net.Conn) {
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
			t.Logf("the switch says %d bytes", n)
			if n < 1000 {
				t.Errorf("no error after %d bytes", n)
			}
			return
		}
		if n > 10_000 {
			t.Fatalf("it never has enough: %v", err)
		}
	}
}

// TestAnyByteOfTheSwitchMayBeWrong lets no call hang, nor anything panic. Most of the
// time goes by waiting, so many conversations are held at once.
func TestAnyByteOfTheSwitchMayBeWrong(t *testing.T) {
	noLeak(t)
	var together errgroup.Group
	together.SetLimit(100)
	for n := range 1600 {
		together.Go(func() error {
			at := 0
			converse(t, fakeSwitch(t, answering(func(m message) []byte {
				b := bytes.Clone(wellBehaved(m))
				if i := n - at; i >= 0 && i < len(b) {
					b[i] ^= 1 << (n * 5 % 8)
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
	noLeak(t)
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

// TestSwitchThatReadsSlowly gets all of a change if it reads 64 KiB within the bound of
// a write, and is lost within that bound if it does not.
func TestSwitchThatReadsSlowly(t *testing.T) {
	noLeak(t)
	many := make([]flows.Flow, 10_000) // more than 1 MB
	for _, tc := range []struct {
		what  string
		chunk int
		pause time.Duration
		lost  bool
	}{
		{"64 KiB in 10 ms", 16 << 10, 2500 * time.Microsecond, false},
		{"64 KiB in a minute", 100, 100 * time.Millisecond, true},
	} {
		t.Run(tc.what, func(t *testing.T) {
			t.Parallel()
			c, err := dial(t.Context(), fakeSwitch(t, func(nc net.Conn) {
				answering(wellBehaved)(&slowReader{Conn: nc, chunk: tc.chunk, pause: tc.pause})
			}), nil, quick)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			begun := time.Now()
			err = c.Apply(t.Context(), Change{Add: many})
			if took := time.Since(begun); tc.lost && took > time.Second || took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			if tc.lost != errors.Is(err, ErrNoAnswer) || tc.lost != errors.Is(err, ErrLost) || tc.lost != (err != nil) {
				t.Errorf("%v", err)
			}
		})
	}
}

// slowReader reads a few bytes at a time once the greeting is over.
type slowReader struct {
	net.Conn
	chunk, read int
	pause       time.Duration
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.read > 100 {
		time.Sleep(r.pause)
		p = p[:min(len(p), r.chunk)]
	}
	n, err := r.Conn.Read(p)
	r.read += n
	return n, err
}

// TestFloodOfEchoesStopsNothing: their answers are dropped when they cannot go out.
func TestFloodOfEchoesStopsNothing(t *testing.T) {
	noLeak(t)
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
