package openflow

import (
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// header appends the header of the whole field that bits are part of.
func (e *encoder) header(s flows.Subfield) {
	if !s.Valid() {
		e.fail(fmt.Errorf("%d bits from bit %d on of %s: it has %d", s.Bits, s.Start, s.Field, s.Field.Bits()))
		return
	}
	h := headers[s.Field]
	if s.Field.Variable() {
		h = headerOf(s.Field.OXM(), maxVariable)
	}
	e.u32(uint32(h))
}

// subfield reads a header and makes it n bits of that field.
func (d *decoder) subfield(start, n uint16) (s flows.Subfield, known bool) {
	h := oxmHeader(d.u32())
	f, ok := h.field()
	s = flows.Subfield{Field: f, Start: start, Bits: n}
	fits := h.length() == f.Width() || f.Variable() && h.length() <= maxVariable && int(start+n) <= 8*h.length()
	return s, ok && s.Valid() && !h.masked() && fits
}

// ofsBits is a range of bits in 16: the first, and how many less one.
func ofsBits(s flows.Subfield) uint16 { return s.Start<<6 | (s.Bits-1)&0x3f }

// rangeOf is the reverse of ofsBits.
func rangeOf(v uint16) (start, n uint16) { return v >> 6, v&0x3f + 1 }

// copyField appends struct ofp_action_copy_field.
func (e *encoder) copyField(a flows.Move) {
	if a.From.Bits != a.To.Bits {
		e.fail(fmt.Errorf("%s: the fields differ in width", a))
	}
	e.standard(actionCopyField)
	e.u16(a.From.Bits)
	e.u16(a.From.Start)
	e.u16(a.To.Start)
	e.zero(2)
	e.header(a.From)
	e.header(a.To)
}

func (d *decoder) copyField() (a flows.Action, known bool) {
	n, fromStart, toStart := d.u16(), d.u16(), d.u16()
	d.skip(2)
	from, ok := d.subfield(fromStart, n)
	to, okTo := d.subfield(toStart, n)
	return flows.Move{From: from, To: to}, ok && okTo
}

// load reads struct nx_action_reg_load, which OpenFlow 1.5 writes as set_field.
func (d *decoder) load() (a flows.Action, known bool) {
	start, n := rangeOf(d.u16())
	to, ok := d.subfield(start, n)
	value := d.u64()
	if !ok || n < 64 && value>>n != 0 {
		return nil, false
	}
	return flows.Load(to, flows.Uint(value)), true
}

// stack appends struct nx_action_stack.
func (e *encoder) stack(subtype uint16, s flows.Subfield) {
	e.nicira(subtype)
	e.u16(s.Start)
	e.header(s)
	e.u16(s.Bits)
	e.zero(6)
}

func (d *decoder) stack(subtype uint16) (a flows.Action, known bool) {
	start, header := d.u16(), decoder{b: d.take(4)}
	s, ok := header.subfield(start, d.u16())
	if subtype == niciraPush {
		return flows.Push{From: s}, ok
	}
	return flows.Pop{To: s}, ok
}

// checkPacketLarger appends struct nx_action_check_pkt_larger.
func (e *encoder) checkPacketLarger(a flows.CheckPacketLarger) {
	if a.To.Bits != 1 {
		e.fail(fmt.Errorf("%s: the answer is one bit", a))
	}
	e.nicira(niciraCheckPacketLarger)
	e.u16(a.Bytes)
	e.u16(a.To.Start)
	e.header(a.To)
}

func (d *decoder) checkPacketLarger() (a flows.Action, known bool) {
	bytes, start := d.u16(), d.u16()
	to, ok := d.subfield(start, 1)
	return flows.CheckPacketLarger{Bytes: bytes, To: to}, ok
}

func (d *decoder) note() (a flows.Action, known bool) {
	b := d.take(len(d.b))
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return flows.Note{Bytes: string(b)}, true
}
