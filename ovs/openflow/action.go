package openflow

import (
	"bytes"
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// Types of actions (the specification, "Action Structures", enum ofp_action_type).
const (
	actionOutput       uint16 = 0
	actionGroup        uint16 = 22
	actionDecTTL       uint16 = 24
	actionSetField     uint16 = 25
	actionCopyField    uint16 = 28
	actionExperimenter uint16 = 0xffff
)

// Open vSwitch's extension (nicira-ext.h).
const (
	vendorNicira uint32 = 0x00002320
	// resubmitTable is NXAST_RESUBMIT_TABLE, struct nx_action_resubmit.
	resubmitTable uint16 = 14
	// inPort16 is OFPP_IN_PORT in 16 bits: look up with the port it came by.
	inPort16 uint16 = 0xfff8
)

// Types of instructions ("Flow Instruction Structures", enum ofp_instruction_type).
const (
	instructionGoto  uint16 = 1
	instructionApply uint16 = 4
)

const (
	// wholePacket is OFPCML_NO_BUFFER: the controller gets all of a packet.
	wholePacket uint16 = 0xffff
	// firstReserved is the first of the port numbers with a meaning of their own.
	firstReserved uint32 = 0xffffff00
)

// instructions appends what a flow does: one apply_actions, then goto_table.
func (e *encoder) instructions(list []flows.Action, proto uint8) {
	apply := list
	if n := len(list); n > 0 {
		if _, ok := list[n-1].(flows.Goto); ok {
			apply = list[:n-1]
		}
	}
	if len(apply) > 0 {
		start := len(e.b)
		e.u16(instructionApply)
		e.u16(0)
		e.zero(4)
		e.actions(apply, proto)
		e.length(start+2, start)
	}
	if len(apply) < len(list) {
		e.u16(instructionGoto)
		e.u16(8)
		e.u8(uint8(list[len(list)-1].(flows.Goto).Table))
		e.zero(3)
	}
}

// actions appends a list of actions. proto is what the flow's match says of the
// IP protocol.
func (e *encoder) actions(list []flows.Action, proto uint8) {
	for _, a := range list {
		start := len(e.b)
		switch a := a.(type) {
		case flows.OutputTo:
			e.u16(actionOutput)
			e.u16(16)
			e.u32(a.Port)
			if a.Port == flows.PortController {
				e.u16(wholePacket)
			} else {
				e.u16(0)
			}
			e.zero(6)
		case flows.ToGroup:
			e.u16(actionGroup)
			e.u16(8)
			e.u32(a.Group)
		case flows.DecTTL:
			e.u16(actionDecTTL)
			e.u16(8)
			e.zero(4)
		case flows.SetField:
			e.u16(actionSetField)
			e.u16(0)
			e.oxm(a.Field, a.Value, a.Mask, proto)
			e.pad(start)
			e.length(start+2, start)
		case flows.Move:
			e.copyField(a, proto)
			e.pad(start)
			e.length(start+2, start)
		case flows.Resubmit:
			e.u16(actionExperimenter)
			e.u16(16)
			e.u32(vendorNicira)
			e.u16(resubmitTable)
			e.u16(inPort16)
			e.u8(uint8(a.Table))
			e.zero(3)
		case flows.Goto:
			e.fail(fmt.Errorf("%s is not the last of the flow's actions", a))
		default:
			e.fail(fmt.Errorf("action %v has no encoding", a))
		}
	}
}

// copyField appends struct ofp_action_copy_field without padding.
func (e *encoder) copyField(a flows.Move, proto uint8) {
	from, err := lookup(a.From, proto)
	if err != nil {
		e.fail(err)
		return
	}
	to, err := lookup(a.To, proto)
	if err != nil {
		e.fail(err)
		return
	}
	if from.width() != to.width() {
		e.fail(fmt.Errorf("%s: the fields differ in width", a))
		return
	}
	e.u16(actionCopyField)
	e.u16(0)
	e.u16(uint16(a.From.Bits()))
	e.zero(6) // both offsets, padding
	e.u32(from.header(false))
	e.u32(to.header(false))
}

// instructions reads what a flow does. strange says why the vocabulary cannot
// express it.
func (d *decoder) instructions(proto uint8) (list []flows.Action, strange string) {
	var last flows.Action
	for d.more() {
		typ, n := d.u16(), int(d.u16())
		body := d.sub(n - 4)
		if d.err != nil {
			return nil, ""
		}
		switch typ {
		case instructionApply:
			if list != nil {
				strange = "two apply_actions"
			}
			body.skip(4)
			var odd string
			if list, odd = body.actions(proto); odd != "" {
				strange = odd
			}
		case instructionGoto:
			last = flows.Goto{Table: flows.TableID(body.u8())}
		default:
			strange = fmt.Sprintf("unknown instruction %d", typ)
		}
		d.fail(body.err)
	}
	if d.err != nil || strange != "" {
		return nil, strange
	}
	if last != nil {
		list = append(list, last)
	}
	return list, ""
}

// actions reads all that is left as a list of actions.
func (d *decoder) actions(proto uint8) (list []flows.Action, strange string) {
	var room [16]flows.Action
	found := room[:0]
	for d.more() {
		typ, n := d.u16(), int(d.u16())
		if d.err == nil && (n < 8 || n%8 != 0) {
			d.fail(fmt.Errorf("action of %d bytes", n))
		}
		body := d.sub(n - 4)
		if d.err != nil {
			return nil, ""
		}
		a, odd := body.action(typ, proto)
		if d.fail(body.err); d.err != nil {
			return nil, ""
		}
		if odd != "" {
			strange = odd
		}
		found = append(found, a)
	}
	if d.err != nil || strange != "" || len(found) == 0 {
		return nil, strange
	}
	// Room for the goto_table that most flows end with.
	return append(make([]flows.Action, 0, len(found)+1), found...), ""
}

// action reads the body of one action.
func (d *decoder) action(typ uint16, proto uint8) (a flows.Action, strange string) {
	switch typ {
	case actionOutput:
		port, maxLen := d.u32(), d.u16()
		return output(port, maxLen)
	case actionGroup:
		return flows.ToGroup{Group: d.u32()}, ""
	case actionDecTTL:
		return flows.DecTTL{}, ""
	case actionSetField:
		o, value, mask, strange := d.oxm()
		if d.err != nil || strange != "" {
			return nil, strange
		}
		if o.proto != protoAny && o.proto != proto {
			return nil, "set_field of another protocol's " + o.field.String()
		}
		return flows.SetField{Field: o.field, Value: value, Mask: mask}, ""
	case actionCopyField:
		return d.copyField(proto)
	case actionExperimenter:
		vendor, subtype := d.u32(), d.u16()
		if vendor != vendorNicira || subtype != resubmitTable {
			return nil, fmt.Sprintf("unknown action %#08x:%d", vendor, subtype)
		}
		if port := d.u16(); port != inPort16 {
			return nil, "resubmit with another port"
		}
		return flows.Resubmit{Table: flows.TableID(d.u8())}, ""
	}
	return nil, fmt.Sprintf("unknown action %d", typ)
}

// output is an output action; the reserved ports that the vocabulary does not
// name are strange to it, and so is a part of a packet for the controller.
func output(port uint32, maxLen uint16) (a flows.Action, strange string) {
	switch {
	case port == flows.PortController && maxLen != wholePacket:
		return nil, fmt.Sprintf("controller with max_len=%d", maxLen)
	case port == flows.PortController, port == flows.PortInPort, port == flows.PortLocal, port < firstReserved:
		return flows.OutputTo{Port: port}, ""
	}
	return nil, fmt.Sprintf("output to the reserved port %#x", port)
}

func (d *decoder) copyField(proto uint8) (a flows.Action, strange string) {
	nbits, offsets := int(d.u16()), d.take(4)
	d.skip(2)
	from, to := oxmHeader(d.u32()), oxmHeader(d.u32())
	if d.err != nil {
		return nil, ""
	}
	f, t := from.field(), to.field()
	switch {
	case f == nil:
		return nil, "copy of unknown " + from.String()
	case t == nil:
		return nil, "copy to unknown " + to.String()
	case !bytes.Equal(offsets, zeros[:4]) || nbits != f.field.Bits() || nbits != t.field.Bits():
		return nil, "copy of a part of " + f.field.String()
	case f.proto != protoAny && f.proto != proto, t.proto != protoAny && t.proto != proto:
		return nil, "copy of another protocol's field"
	}
	return flows.Move{From: f.field, To: t.field}, ""
}
