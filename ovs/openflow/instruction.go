package openflow

import (
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// Types of instructions ("Flow Instruction Structures", enum ofp_instruction_type).
const (
	instructionGoto          uint16 = 1
	instructionWriteMetadata uint16 = 2
	instructionWriteActions  uint16 = 3
	instructionApply         uint16 = 4
	instructionClearActions  uint16 = 5
)

// instructionOrder is the order in which the switch does instructions, and in which a
// flow's list of actions has them: behind the actions themselves.
var instructionOrder = [...]uint16{
	instructionApply, instructionClearActions, instructionWriteActions, instructionWriteMetadata, instructionGoto,
}

// instructionOf is the instruction that an entry of a flow's list belongs to.
func instructionOf(a flows.Action) uint16 {
	switch a := a.(type) {
	case flows.Goto:
		return instructionGoto
	case flows.WriteMetadata:
		return instructionWriteMetadata
	case flows.WriteActions:
		return instructionWriteActions
	case flows.Word:
		if a == flows.ClearActions {
			return instructionClearActions
		}
	}
	return instructionApply
}

// instructions appends what a flow does.
func (e *encoder) instructions(list []flows.Action) {
	for _, typ := range instructionOrder {
		n := 0
		for n < len(list) && instructionOf(list[n]) == typ && (n == 0 || typ == instructionApply) {
			n++
		}
		if n == 0 {
			continue
		}
		start := len(e.b)
		e.u16(typ)
		e.u16(0)
		switch a := list[0].(type) {
		case flows.Goto:
			e.u8(uint8(a.Table))
			e.zero(3)
		case flows.WriteMetadata:
			e.zero(4)
			e.u64(a.Value)
			e.u64(a.Mask)
		case flows.WriteActions:
			e.zero(4)
			e.actions(a.Actions)
			e.bounded(start)
		default:
			e.zero(4)
			if typ == instructionApply {
				e.actions(list[:n])
			}
		}
		e.length(start+2, start)
		list = list[n:]
	}
	if len(list) > 0 {
		e.fail(fmt.Errorf("what stands before %s is not the last of the flow's actions", list[0]))
	}
}

// instructions reads what a flow does. strange says why the vocabulary cannot
// express it.
func (d *decoder) instructions() (list []flows.Action, strange string) {
	var behind [len(instructionOrder)]flows.Action
	seen := 0
	for d.more() {
		typ, n := d.u16(), int(d.u16())
		body := d.sub(n - 4)
		if d.err != nil {
			return nil, ""
		}
		if seen&(1<<typ) != 0 {
			strange = fmt.Sprintf("instruction %d twice", typ)
		}
		seen |= 1 << typ
		switch typ {
		case instructionApply:
			body.skip(4)
			list = body.actions()
		case instructionClearActions:
			behind[1] = flows.ClearActions
		case instructionWriteActions:
			body.skip(4)
			if list := body.actions(); len(list) > 0 {
				behind[2] = flows.WriteActions{Actions: list}
			}
		case instructionWriteMetadata:
			body.skip(4)
			behind[3] = flows.WriteMetadata{Value: body.u64(), Mask: body.u64()}
		case instructionGoto:
			behind[4] = flows.Goto{Table: flows.TableID(body.u8())}
		default:
			strange = fmt.Sprintf("unknown instruction %d", typ)
		}
		d.fail(body.err)
	}
	if d.err != nil || strange != "" {
		return nil, strange
	}
	for _, a := range behind {
		if a != nil {
			list = append(list, a)
		}
	}
	return list, ""
}
