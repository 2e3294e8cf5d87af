package openflow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

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
	return flowReply(xid, flows.Flow{
		Table: 3, Priority: 7, Cookie: 9, Match: flows.Match{}.InPort(3),
		Actions: []flows.Action{flows.Set(flows.Reg1, flows.Uint(7)), flows.Goto{Table: 4}},
	})
}

// flowReply is a dump of that flow.
func flowReply(xid uint32, f flows.Flow) []byte {
	var e encoder
	start := e.begin(kindMultipartReply, xid)
	e.u16(multipartFlowDesc)
	e.zero(6)
	desc := len(e.b)
	e.zero(2 + 2)
	e.u8(uint8(f.Table))
	e.zero(1)
	e.u16(f.Priority)
	e.u16(f.IdleTimeout)
	e.u16(f.HardTimeout)
	e.u16(uint16(f.Flags))
	e.u16(f.Importance)
	e.u64(uint64(f.Cookie))
	e.match(f.Match)
	e.bytes([]byte{0, 0, 0, 4, 0, 0, 0, 0}) // no counters
	e.instructions(f.Actions)
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
