package openflow

import (
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// Classes of fields (the specification, "OXM classes"; Open vSwitch's ofp-msgs.h
// and nicira-ext.h for the second).
const (
	classNXM1       uint16 = 0x0001 // NXM_NX_*
	classBasic      uint16 = 0x8000 // OXM_OF_*
	classPacketRegs uint16 = 0x8001 // OXM_OF_PKT_REG*: see packetRegister
	classOXS        uint16 = 0x8002 // OXS_OF_*: counters, not fields
)

// IP protocols that a transport field's number depends on.
const (
	protoAny    = 0
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

// oxmField is how a field of the vocabulary goes over the wire. Its width is
// flows.Field.Bits.
type oxmField struct {
	field  flows.Field
	class  uint16
	number uint8
	// maskable tells whether a match or a set_field may name some of its bits only.
	maskable bool
	// proto is the IP protocol with which the field has this number.
	proto uint8
}

const (
	whole    = false
	maskable = true
)

// oxmFields is the one list of what is on the wire: the names that Open vSwitch
// uses in OpenFlow 1.5, from ovs-fields(7). Where it has OXM and NXM names for a
// field, the switch sends OXM.
var oxmFields = []oxmField{
	{flows.InPort, classBasic, 0, whole, protoAny},
	{flows.Metadata, classBasic, 2, maskable, protoAny},
	{flows.EthDst, classBasic, 3, maskable, protoAny},
	{flows.EthSrc, classBasic, 4, maskable, protoAny},
	{flows.EthType, classBasic, 5, whole, protoAny},
	{flows.IPProto, classBasic, 10, whole, protoAny},
	{flows.IPv4Src, classBasic, 11, maskable, protoAny},
	{flows.IPv4Dst, classBasic, 12, maskable, protoAny},
	{flows.TPSrc, classBasic, 13, maskable, protoTCP},
	{flows.TPDst, classBasic, 14, maskable, protoTCP},
	{flows.TPSrc, classBasic, 15, maskable, protoUDP},
	{flows.TPDst, classBasic, 16, maskable, protoUDP},
	{flows.TPSrc, classBasic, 17, maskable, protoSCTP},
	{flows.TPDst, classBasic, 18, maskable, protoSCTP},
	{flows.ICMPType, classBasic, 19, whole, protoICMP},
	{flows.ICMPCode, classBasic, 20, whole, protoICMP},
	{flows.ARPOp, classBasic, 21, whole, protoAny},
	{flows.ARPSpa, classBasic, 22, maskable, protoAny},
	{flows.ARPTpa, classBasic, 23, maskable, protoAny},
	{flows.ARPSha, classBasic, 24, maskable, protoAny},
	{flows.ARPTha, classBasic, 25, maskable, protoAny},
	{flows.IPv6Src, classBasic, 26, maskable, protoAny},
	{flows.IPv6Dst, classBasic, 27, maskable, protoAny},
	{flows.ICMPType, classBasic, 29, whole, protoICMPv6},
	{flows.ICMPCode, classBasic, 30, whole, protoICMPv6},
	{flows.NDTarget, classBasic, 31, maskable, protoAny},
	{flows.NDSll, classBasic, 32, maskable, protoAny},
	{flows.NDTll, classBasic, 33, maskable, protoAny},
	{flows.TunID, classBasic, 38, maskable, protoAny},

	{flows.Reg0, classNXM1, 0, maskable, protoAny},
	{flows.Reg1, classNXM1, 1, maskable, protoAny},
	{flows.Reg2, classNXM1, 2, maskable, protoAny},
	{flows.Reg3, classNXM1, 3, maskable, protoAny},
	{flows.Reg4, classNXM1, 4, maskable, protoAny},
	{flows.Reg5, classNXM1, 5, maskable, protoAny},
	{flows.Reg6, classNXM1, 6, maskable, protoAny},
	{flows.Reg7, classNXM1, 7, maskable, protoAny},
	{flows.Reg8, classNXM1, 8, maskable, protoAny},
	{flows.Reg9, classNXM1, 9, maskable, protoAny},
	{flows.Reg10, classNXM1, 10, maskable, protoAny},
	{flows.Reg11, classNXM1, 11, maskable, protoAny},
	{flows.Reg12, classNXM1, 12, maskable, protoAny},
	{flows.Reg13, classNXM1, 13, maskable, protoAny},
	{flows.Reg14, classNXM1, 14, maskable, protoAny},
	{flows.Reg15, classNXM1, 15, maskable, protoAny},
	{flows.TunSrc, classNXM1, 31, maskable, protoAny},
	{flows.TunDst, classNXM1, 32, maskable, protoAny},
	{flows.PktMark, classNXM1, 33, maskable, protoAny},
	{flows.ConjID, classNXM1, 37, whole, protoAny},
	{flows.CTState, classNXM1, 105, maskable, protoAny},
	{flows.CTZone, classNXM1, 106, whole, protoAny},
	{flows.CTMark, classNXM1, 107, maskable, protoAny},
	{flows.CTLabel, classNXM1, 108, maskable, protoAny},
	{flows.TunIPv6Src, classNXM1, 109, maskable, protoAny},
	{flows.TunIPv6Dst, classNXM1, 110, maskable, protoAny},
}

// Indexes of oxmFields: by the vocabulary's field, and by number within a class.
var (
	oxmByField = func() (index [256][]*oxmField) {
		for i := range oxmFields {
			f := &oxmFields[i]
			index[f.field] = append(index[f.field], f)
		}
		return index
	}()
	oxmBasic = indexClass(classBasic)
	oxmNXM1  = indexClass(classNXM1)
)

func indexClass(class uint16) (index [128]*oxmField) {
	for i := range oxmFields {
		if f := &oxmFields[i]; f.class == class {
			index[f.number] = f
		}
	}
	return index
}

// width is the field's in bytes.
func (f *oxmField) width() int { return f.field.Bits() / 8 }

// header is the first four bytes of the field with or without mask (the
// specification, "Flow Match Field Structures").
func (f *oxmField) header(masked bool) uint32 {
	h := uint32(f.class)<<16 | uint32(f.number)<<9
	if masked {
		return h | 1<<8 | uint32(2*f.width())
	}
	return h | uint32(f.width())
}

// oxmHeader is a field's header as it came.
type oxmHeader uint32

func (h oxmHeader) class() uint16 { return uint16(h >> 16) }
func (h oxmHeader) number() uint8 { return uint8(h>>9) & 0x7f }
func (h oxmHeader) masked() bool  { return h&(1<<8) != 0 }
func (h oxmHeader) length() int   { return int(h & 0xff) }

func (h oxmHeader) String() string { return fmt.Sprintf("field %#04x:%d", h.class(), h.number()) }

// field finds the vocabulary's field, nil if it has none.
func (h oxmHeader) field() *oxmField {
	switch h.class() {
	case classBasic:
		return oxmBasic[h.number()]
	case classNXM1:
		return oxmNXM1[h.number()]
	}
	return nil
}

// lookup finds how a field is written in a flow for an IP protocol.
func lookup(f flows.Field, proto uint8) (*oxmField, error) {
	for _, o := range oxmByField[f] {
		if o.proto == protoAny || o.proto == proto {
			return o, nil
		}
	}
	if len(oxmByField[f]) == 0 {
		return nil, fmt.Errorf("field %s has no OpenFlow number", f)
	}
	return nil, fmt.Errorf("field %s means nothing unless the match names an IP protocol that has it", f)
}

// allOnes is the mask that has every bit of a field.
func allOnes(f flows.Field) flows.Value { return onesByField[f] }

var onesByField = func() (ones [256]flows.Value) {
	for _, o := range oxmFields {
		ones[o.field] = flows.Set(o.field, flows.Value{}).Mask
	}
	return ones
}()

// oxm appends a field with its value, and its mask if that is not all ones.
func (e *encoder) oxm(f flows.Field, value, mask flows.Value, proto uint8) {
	o, err := lookup(f, proto)
	if err != nil {
		e.fail(err)
		return
	}
	masked := mask != allOnes(f)
	if masked && !o.maskable {
		e.fail(fmt.Errorf("field %s cannot be masked", f))
		return
	}
	e.u32(o.header(masked))
	w := o.width()
	e.bytes(value[16-w:])
	if masked {
		e.bytes(mask[16-w:])
	}
}

// oxm reads a field with its value and mask. strange says what the vocabulary
// cannot express; the field has been skipped then.
func (d *decoder) oxm() (o *oxmField, value, mask flows.Value, strange string) {
	h := oxmHeader(d.u32())
	return d.oxmBody(h)
}

// oxmBody is oxm after the header.
func (d *decoder) oxmBody(h oxmHeader) (o *oxmField, value, mask flows.Value, strange string) {
	body := d.sub(h.length())
	if d.err != nil {
		return nil, value, mask, ""
	}
	o = h.field()
	if o == nil {
		return nil, value, mask, "unknown " + h.String()
	}
	w := o.width()
	if (h.masked() && len(body.b) != 2*w) || (!h.masked() && len(body.b) != w) {
		d.fail(fmt.Errorf("field %s has %d bytes", o.field, len(body.b)))
		return nil, value, mask, ""
	}
	if h.masked() && !o.maskable {
		return nil, value, mask, "masked " + o.field.String()
	}
	copy(value[16-w:], body.take(w))
	if h.masked() {
		copy(mask[16-w:], body.take(w))
	} else {
		mask = allOnes(o.field)
	}
	return o, value, mask, ""
}

// packetRegisters is how many packet registers there are.
const packetRegisters = 8

// isPacketRegister tells whether a field is one of OpenFlow's 64-bit packet
// registers. Open vSwitch keeps two of its own registers in each, and in OpenFlow
// 1.5 describes matches on them so, whichever way it was told.
func (h oxmHeader) isPacketRegister() bool {
	return h.class() == classPacketRegs && h.number() < packetRegisters
}

// packetRegister reads packet register N, after its header, as the registers that
// it consists of: reg2N, the upper half, and reg2N+1.
func (d *decoder) packetRegister(h oxmHeader) (terms [2]flows.Term) {
	body := d.sub(h.length())
	value, mask := body.u64(), ^uint64(0)
	if h.masked() {
		mask = body.u64()
	}
	if body.err == nil && len(body.b) > 0 {
		body.fail(fmt.Errorf("packet register of %d bytes", h.length()))
	}
	d.fail(body.err)
	reg := flows.Reg0 + 2*flows.Field(h.number())
	terms[0] = flows.Term{Field: reg, Value: flows.Uint(value >> 32), Mask: flows.Uint(mask >> 32)}
	terms[1] = flows.Term{Field: reg + 1, Value: flows.Uint(value & 0xffffffff), Mask: flows.Uint(mask & 0xffffffff)}
	return terms
}
