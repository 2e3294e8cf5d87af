package openflow_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// frame is a UDP packet from 10.0.0.1 to 10.0.0.2.
var frame = func() []byte {
	b, err := hex.DecodeString("0200000000020200000000010800" + "4500002000004000401126cb0a0000010a000002" + "03e803e9000c0000" + "74657374")
	if err != nil {
		panic(err)
	}
	return b
}()

var action = []openflow.PacketInReason{openflow.ReasonAction, openflow.ReasonActionSet, openflow.ReasonGroup, openflow.ReasonPacketOut}

func receive(t testing.TB, c *openflow.Conn, reasons ...openflow.PacketInReason) <-chan openflow.PacketIn {
	t.Helper()
	ch, err := c.Packets(t.Context(), reasons...)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// next is what comes next, within five seconds.
func next[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-ch:
		if !ok {
			t.Fatal("closed")
		}
		return v
	case <-time.After(5 * time.Second):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

func send(t testing.TB, c *openflow.Conn, p openflow.PacketOut) {
	t.Helper()
	if err := c.SendPacket(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func through(table flows.TableID, fields flows.Match) openflow.PacketOut {
	return openflow.PacketOut{Packet: frame, Fields: fields, Actions: []flows.Action{flows.Resubmit{Table: table}}}
}

func TestPacketGoesOutThroughATableAndComesInWithItsFields(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	ch := receive(t, c, action...)
	ovs.Ofctl("add-flow", "br0", "cookie=0xabc,table=7,reg1=5,metadata=0x99,actions=set_field:0x1234->reg3,set_field:9->tun_id,set_field:10.9.9.9->tun_dst,set_field:7->pkt_mark,controller(userdata=01.02.03)")
	send(t, c, through(7, flows.Match{}.InPort(flows.PortLocal).Is(flows.Reg1, flows.Uint(5)).Is(flows.Metadata, flows.Uint(0x99))))
	p := next(t, ch)
	want := flows.Match{}.InPort(flows.PortLocal).Is(flows.Reg1, flows.Uint(5)).Is(flows.Metadata, flows.Uint(0x99)).
		Is(flows.Reg3, flows.Uint(0x1234)).Is(flows.TunID, flows.Uint(9)).Is(flows.TunDst, flows.Uint(0x0a090909)).Is(flows.PktMark, flows.Uint(7))
	if !p.Fields.Equal(want) {
		t.Errorf("fields %s, want %s", p.Fields, want)
	}
	if !bytes.Equal(p.Packet, frame) || p.Length != len(frame) || p.Table != 7 || p.Cookie != 0xabc || p.Reason != openflow.ReasonAction ||
		!bytes.Equal(p.Userdata, []byte{1, 2, 3}) || p.Paused {
		t.Errorf("%+v", p)
	}
}

func TestPacketInTellsWhatConntrackKnows(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	ch := receive(t, c, action...)
	ovs.Ofctl("add-flow", "br0", "table=0,ip,actions=ct(commit,zone=4,exec(set_field:6->ct_mark),table=1)")
	ovs.Ofctl("add-flow", "br0", "table=1,actions=controller")
	send(t, c, through(0, nil))
	p := next(t, ch)
	for _, want := range []struct {
		field flows.Field
		value uint64
	}{{flows.InPort, uint64(flows.PortController)}, {flows.CTZone, 4}, {flows.CTMark, 6}, {flows.CTState, 0x21}} {
		if got, ok := p.Fields.Get(want.field); !ok || got.Value.Uint64() != want.value {
			t.Errorf("%s is %v", want.field, got)
		}
	}
	if p.Length != len(frame) || p.Table != 1 {
		t.Errorf("%+v", p)
	}
}

func TestPausedPacketGoesOnWithWhatWasMadeOfIt(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	ch := receive(t, c, action...)
	ovs.Ofctl("add-flow", "br0", "table=1,ip,actions=ct(commit,zone=4,table=2)")
	ovs.Ofctl("add-flow", "br0", "table=2,actions=set_field:1->reg5,controller(pause),set_field:3->reg7,resubmit(,3)")
	ovs.Ofctl("add-flow", "br0", "table=3,actions=controller")
	send(t, c, through(1, nil))
	p := next(t, ch)
	if !p.Paused {
		t.Fatalf("%+v", p)
	}
	p.Packet = bytes.Clone(p.Packet)
	p.Packet[len(p.Packet)-1] = '!'
	p.Fields = p.Fields.Is(flows.Reg6, flows.Uint(2))
	if err := c.ResumePacket(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	on := next(t, ch)
	for f, want := range map[flows.Field]uint64{flows.Reg5: 1, flows.Reg6: 2, flows.Reg7: 3} {
		if got, _ := on.Fields.Get(f); got.Value.Uint64() != want {
			t.Errorf("%s is %v", f, got)
		}
	}
	if on.Paused || on.Table != 3 || !bytes.Equal(on.Packet, p.Packet) {
		t.Errorf("%+v", on)
	}
	if err := c.ResumePacket(t.Context(), on); err == nil {
		t.Error("a packet that was not paused was resumed")
	}
}

func TestRefusedPacketsAreErrors(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	for want, p := range map[string]openflow.PacketOut{
		"OFPBRC_BAD_PORT":         {Packet: frame, Fields: flows.Match{}.InPort(0xffffff05)},
		"OFPBAC_BAD_OUT_PORT":     {Packet: frame, Actions: []flows.Action{flows.OutputTo{Port: 0x10000}}},
		"longer than 60000 bytes": {Packet: make([]byte, 60_000)},
	} {
		if err := c.SendPacket(t.Context(), p); err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("want %s: %v", want, err)
		}
	}
	// A continuation of another bridge.
	if err := c.ResumePacket(t.Context(), openflow.PacketIn{Packet: frame, Paused: true}); err == nil {
		t.Error("resumed nothing")
	}
}

// TestSlowReceiverLosesPacketsAndNothingElse sends more packets than may wait.
func TestSlowReceiverLosesPacketsAndNothingElse(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	ch := receive(t, c, action...)
	ovs.Ofctl("add-flow", "br0", "table=7,actions=controller")
	const many = 1000
	for range many {
		send(t, c, through(7, nil))
	}
	apply(t, c, openflow.Change{Add: routes(5000)})
	if err := c.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	waiting := uint64(len(ch))
	if waiting != 256 || waiting+c.PacketsDropped() > many || c.PacketsDropped() == 0 {
		t.Errorf("%d wait, %d were dropped of %d", waiting, c.PacketsDropped(), many)
	}
	for range waiting {
		next(t, ch)
	}
	send(t, c, through(7, nil))
	next(t, ch)
}

func TestReceiverLearnsOfTheConnectionsEnd(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	ch := receive(t, c, action...)
	events, err := c.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Packets(t.Context()); err == nil {
		t.Error("a second channel")
	}
	if _, err := c.Watch(t.Context()); err == nil {
		t.Error("a second watch")
	}
	c.Close()
	if _, ok := <-ch; ok {
		t.Error("a packet")
	}
	if _, ok := <-events; ok {
		t.Error("an event")
	}
	for what, err := range map[string]error{
		"packets": func() error { _, err := c.Packets(t.Context()); return err }(),
		"send":    c.SendPacket(t.Context(), through(0, nil)),
		"meters":  c.Apply(t.Context(), openflow.Change{RemoveMeters: []uint32{1}}),
	} {
		if !errors.Is(err, openflow.ErrLost) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
