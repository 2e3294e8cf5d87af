package openflow

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// record writes testdata/recorded anew.
var record = flag.Bool("record", false, "write testdata/recorded anew, from a real switch")

// recorded is one message of each kind that Open vSwitch sends, as the fake switch
// sends them and as the fuzzers begin with.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/recorded", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// nameOf is the file that a message is recorded in, the same for all of its kind.
func nameOf(m message) string {
	d := decoder{b: m.body}
	switch m.kind {
	case kindMultipartReply:
		name := fmt.Sprintf("multipart-%d", d.u16())
		if m.xid == 0 {
			name += "-unasked"
		}
		return name
	case kindExperimenter:
		return fmt.Sprintf("nicira-%d", m.body[7])
	}
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(m.kind.String(), "OFPT_"), "_", "-"))
}

// TestRecordedMessagesAreTheSwitchesOwn asks a real switch for everything and finds
// every message that it answers with among the recorded ones.
func TestRecordedMessagesAreTheSwitchesOwn(t *testing.T) {
	noLeak(t)
	ovs := ovstest.Start(t)
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+ovstest.Datapath(), "fail_mode=secure")
	socket, heard := tee(t, ovs.MgmtSocket("br0"))
	c, err := dial(t.Context(), socket, nil, normal)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.Apply(t.Context(), Change{
		PutMeters: []flows.Meter{{ID: 2, Bands: []flows.Band{{Type: flows.BandDrop, Rate: 9, Burst: 3}}}},
		PutGroups: []flows.Group{{ID: 1, Method: "dp_hash", Buckets: []flows.Bucket{{ID: 1, Weight: 3, Actions: []flows.Action{flows.OutputTo{Port: 1}}}}}},
		Add:       []flows.Flow{{Table: 3, Priority: 7, Cookie: 9, Match: flows.Match{}.InPort(3), Actions: []flows.Action{flows.Set(flows.Reg1, flows.Uint(7)), flows.Goto{Table: 4}}}},
	}))
	ovs.Ofctl("add-flow", "br0", "table=7,cookie=5,actions=set_field:4->reg2,controller(userdata=01.02,pause)")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must(everything(ctx, c, func(p PacketIn) {
		ovs.Ofctl("add-flow", "br0", "table=9,priority=1,actions=drop")
		if !p.Paused {
			t.Errorf("%+v", p)
		}
	}))
	// The format that OpenFlow 1.5 has.
	must(c.one(t.Context(), "set the format", func(e *encoder, xid uint32) {
		start := e.beginNicira(xid, niciraSetPacketInFormat)
		e.u32(0)
		e.end(start)
	}))
	ovs.Ofctl("add-flow", "br0", "table=7,cookie=5,actions=set_field:4->reg2,controller")
	must(c.SendPacket(t.Context(), somePacket))
	p := arrives(t, c.packets)
	if p.Cookie != 5 || p.Table != 7 || len(p.Packet) != len(somePacket.Packet) || !p.Fields.Equal(flows.Match{}.InPort(flows.PortController).Is(flows.Reg2, flows.Uint(4))) {
		t.Errorf("in OpenFlow's own format: %+v", p)
	}
	c.Close()
	for name, b := range heard() {
		if *record {
			must(os.WriteFile(filepath.Join("testdata/recorded", name), b, 0o644))
		}
		if len(recorded(t, name)) < headerLen {
			t.Errorf("%s is no message", name)
		}
	}
}

// arrives is what comes within five seconds.
func arrives[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(5 * time.Second):
		t.Fatal("nothing came")
	}
	return v
}

// tee stands between a connection and its switch and keeps the longest message of
// each kind that the switch sends, of at most 2,000 bytes.
func tee(t *testing.T, socket string) (path string, heard func() map[string][]byte) {
	var mu sync.Mutex
	kept := map[string][]byte{}
	path = fakeSwitch(t, func(near net.Conn) {
		far, err := net.Dial("unix", socket)
		if err != nil {
			t.Error(err)
			return
		}
		var ends sync.WaitGroup
		defer ends.Wait()
		defer far.Close()
		ends.Go(func() {
			frames := newFrameReader(near)
			for {
				m, err := frames.next()
				if err != nil {
					far.Close()
					return
				}
				far.Write(frames.buf[:headerLen+len(m.body)])
			}
		})
		frames := newFrameReader(far)
		for {
			m, err := frames.next()
			if err != nil {
				near.Close()
				return
			}
			b := append([]byte(nil), frames.buf[:headerLen+len(m.body)]...)
			mu.Lock()
			if name := nameOf(m); len(b) > len(kept[name]) && len(b) < 2000 || m.kind == kindMultipartReply && kept[name] == nil {
				kept[name] = b
			}
			mu.Unlock()
			near.Write(b)
		}
	})
	return path, func() map[string][]byte {
		mu.Lock()
		defer mu.Unlock()
		return kept
	}
}
