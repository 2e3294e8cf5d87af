package openflow

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// PacketIn is a packet that the switch has sent to us.
type PacketIn struct {
	// Packet is the frame from its Ethernet header on, and Length how long it was, if
	// the switch has cut it.
	Packet []byte
	Length int
	// Table and Cookie are those of the flow that sent it. Cookie is all ones if
	// there was no flow. Of a paused packet Open vSwitch tells the table that it came
	// into first.
	Table  flows.TableID
	Cookie flows.Cookie
	Reason PacketInReason
	// Fields are what the pipeline knew beside the packet, as far as it was not 0:
	// port, registers, tunnel, conntrack.
	Fields flows.Match
	// Userdata is what the flow's controller action carries.
	Userdata []byte
	// Paused tells that the packet waits in the switch's pipeline for Resume.
	Paused bool

	unknown      []byte // fields that package flows does not know, as they came
	continuation []byte // where the packet was in the pipeline, for the switch alone
}

// PacketInReason says why a packet was sent (the specification, "Packet-In
// Message", enum ofp_packet_in_reason).
type PacketInReason uint8

// The reasons.
const (
	ReasonMiss       PacketInReason = 0 // a flow table's own: none of its flows matched
	ReasonAction     PacketInReason = 1 // a flow's action
	ReasonInvalidTTL PacketInReason = 2 // dec_ttl had nothing left to take
	ReasonActionSet  PacketInReason = 3 // a flow's write_actions
	ReasonGroup      PacketInReason = 4 // a bucket's action
	ReasonPacketOut  PacketInReason = 5 // a packet-out's action
)

// reservedCookie is a cookie's value where there is none.
const reservedCookie = ^flows.Cookie(0)

// Properties of a NXT_PACKET_IN2 (nicira-ext.h, enum nx_packet_in2_prop_type).
const (
	packetData         uint16 = 0
	packetFullLen      uint16 = 1
	packetTable        uint16 = 3
	packetCookie       uint16 = 4
	packetReason       uint16 = 5
	packetFields       uint16 = 6
	packetUserdata     uint16 = 7
	packetContinuation uint16 = 8
)

// packetIn2 reads the properties of NXT_PACKET_IN2. What it returns is the input's own.
func (d *decoder) packetIn2() PacketIn {
	p := PacketIn{Cookie: reservedCookie}
	for d.more() {
		typ, prop := d.property()
		switch typ {
		case packetData:
			p.Packet = prop.b
		case packetFullLen:
			p.Length = int(prop.u32())
		case packetTable:
			p.Table = flows.TableID(prop.u8())
		case packetCookie:
			prop.skip(4)
			p.Cookie = flows.Cookie(prop.u64())
		case packetReason:
			p.Reason = PacketInReason(prop.u8())
		case packetFields:
			p.Fields, p.unknown = prop.pipelineFields()
		case packetUserdata:
			p.Userdata = prop.b
		case packetContinuation:
			prop.skip(4)
			p.continuation, p.Paused = prop.b, prop.err == nil
		}
		d.fail(prop.err)
	}
	p.Length = max(p.Length, len(p.Packet))
	return p
}

// packetIn reads the body of OFPT_PACKET_IN (struct ofp_packet_in).
func (d *decoder) packetIn() PacketIn {
	d.skip(4) // buffer_id: Open vSwitch keeps none
	p := PacketIn{Length: int(d.u16()), Reason: PacketInReason(d.u8()), Table: flows.TableID(d.u8()), Cookie: flows.Cookie(d.u64())}
	d.skip(2) // the match's type
	n := int(d.u16())
	fields := d.sub(n - 4)
	d.skip(padded(n) - n + 2)
	p.Fields, p.unknown = fields.pipelineFields()
	if d.fail(fields.err); d.err == nil {
		p.Packet = d.b
	}
	p.Length = max(p.Length, len(p.Packet))
	return p
}

// pipelineFields reads all that is left as fields. Those that package flows does not
// know are no error here: newer switches have more.
func (d *decoder) pipelineFields() (m flows.Match, unknown []byte) {
	for d.more() {
		start := d.b
		t, odd := d.oxm()
		switch {
		case d.err != nil:
		case odd != "" || maskedWhole(t):
			unknown = append(unknown, start[:len(start)-len(d.b)]...)
		default:
			m = m.With(setRegisters(t))
		}
	}
	return m, unknown
}

// setRegisters leaves of a register that consists of others those that are not 0, as
// the switch does with single ones.
func setRegisters(t flows.Term) flows.Term {
	if t.Field < flows.XReg0 || t.Field > flows.XXReg3 {
		return t
	}
	for at := 0; at < len(t.Value); at += 4 {
		if string(t.Value[at:at+4]) == string(zeros[:4]) {
			copy(t.Mask[at:], zeros[:4])
		}
	}
	return t
}

// own makes the packet independent of the message that it came in.
func (p PacketIn) own() PacketIn {
	p.Packet, p.Userdata, p.continuation = bytes.Clone(p.Packet), bytes.Clone(p.Userdata), bytes.Clone(p.continuation)
	return p
}

// PacketOut is a packet for the switch to send.
type PacketOut struct {
	// Packet is the frame from its Ethernet header on, without checksum.
	Packet []byte
	// Fields are what the pipeline shall know beside the packet: registers, tunnel,
	// metadata. Without InPort it comes from flows.PortController.
	Fields flows.Match
	// Actions are what is done with it. flows.Resubmit sends it through a table.
	Actions []flows.Action
}

// SendPacket makes the switch send a packet and returns when it has taken it. An
// *Error says why it refuses.
func (c *Conn) SendPacket(ctx context.Context, p PacketOut) error {
	return c.one(ctx, "send a packet", func(e *encoder, xid uint32) { e.packetOut(xid, p) })
}

// ResumePacket lets a packet that was Paused go on from where it was, with what its
// receiver has made of Packet and Fields. Each can be resumed once; an *Error says
// that the switch refuses, as one does that was restarted.
func (c *Conn) ResumePacket(ctx context.Context, p PacketIn) error {
	if !p.Paused {
		return errors.New("resume a packet: it was not paused")
	}
	return c.one(ctx, "resume a packet", func(e *encoder, xid uint32) { e.resume(xid, p) })
}

// one sends a message that the switch answers only to refuse it, and waits until it
// has been done.
func (c *Conn) one(ctx context.Context, what string, put func(e *encoder, xid uint32)) error {
	refused, err := c.command(ctx, 1, func(e *encoder, xid uint32, _ int) { put(e, xid) })
	if err == nil && len(refused) > 0 {
		err = refused[0].err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// packetOut appends struct ofp_packet_out.
func (e *encoder) packetOut(xid uint32, p PacketOut) {
	if _, ok := p.Fields.Get(flows.InPort); !ok {
		p.Fields = p.Fields.InPort(flows.PortController)
	}
	start := e.begin(kindPacketOut, xid)
	e.u32(anyone) // buffer_id
	lengthAt := len(e.b)
	e.u16(0)
	e.zero(2)
	e.match(p.Fields)
	actions := len(e.b)
	e.actions(p.Actions)
	e.length(lengthAt, actions)
	e.bytes(p.Packet)
	e.end(start)
}

// resume appends NXT_RESUME: the properties of the packet-in that it answers.
func (e *encoder) resume(xid uint32, p PacketIn) {
	start := e.beginNicira(xid, niciraResume)
	e.property(packetData, func() { e.bytes(p.Packet) })
	e.property(packetTable, func() { e.u8(uint8(p.Table)) })
	if p.Cookie != reservedCookie {
		e.property(packetCookie, func() { e.zero(4); e.u64(uint64(p.Cookie)) })
	}
	e.property(packetReason, func() { e.u8(uint8(p.Reason)) })
	e.property(packetFields, func() {
		start := len(e.b)
		e.match(p.Fields) // of which its fields alone are wanted
		if e.err == nil {
			n := int(binary.BigEndian.Uint16(e.b[start+2:]))
			e.b = append(e.b[:start], e.b[start+4:start+n]...)
		}
		e.bytes(p.unknown)
	})
	e.property(packetContinuation, func() { e.zero(4); e.bytes(p.continuation) })
	e.end(start)
}

// property appends one of a list of properties, padded to 8 bytes.
func (e *encoder) property(typ uint16, body func()) {
	start := len(e.b)
	e.u16(typ)
	e.u16(0)
	body()
	e.length(start+2, start)
	e.pad(start)
}

// property reads one of a list of properties, and the padding behind it.
func (d *decoder) property() (typ uint16, body decoder) {
	typ, n := d.u16(), int(d.u16())
	body = d.sub(n - 4)
	d.skip(min(padded(n)-n, len(d.b)))
	return typ, body
}
