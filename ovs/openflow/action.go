package openflow

import (
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

// vendorNicira marks Open vSwitch's extensions.
const vendorNicira uint32 = 0x00002320

// Open vSwitch's own actions (ofp-actions.c, enum ofp_raw_action_type, NXAST_*).
const (
	niciraRegLoad           uint16 = 7
	niciraNote              uint16 = 8
	niciraResubmitTable     uint16 = 14
	niciraOutputReg         uint16 = 15
	niciraLearn             uint16 = 16
	niciraFinTimeout        uint16 = 19
	niciraController        uint16 = 20
	niciraPush              uint16 = 27
	niciraPop               uint16 = 28
	niciraConjunction       uint16 = 34
	niciraCT                uint16 = 35
	niciraNAT               uint16 = 36
	niciraController2       uint16 = 37
	niciraOutputTruncated   uint16 = 39
	niciraClone             uint16 = 42
	niciraResubmitTableCT   uint16 = 44
	niciraLearn2            uint16 = 45
	niciraCheckPacketLarger uint16 = 49
)

// actions appends a list of actions.
func (e *encoder) actions(list []flows.Action) {
	for _, a := range list {
		if raw, ok := a.(flows.Raw); ok {
			e.raw(raw)
			continue
		}
		start := len(e.b)
		e.action(a)
		e.pad(start)
		e.length(start+2, start)
		switch a.(type) {
		case flows.CT, flows.Clone, flows.Learn:
			e.bounded(start)
		}
	}
}

// maxHolding is how long an action may be that holds others, in bytes. Open vSwitch 3.1
// ends itself if its own form of one has more than 64 KiB, up to five times as much: it
// did so with 5,000 dec_ttl in a clone, and with 3,000 specs in a learn.
const maxHolding = 12_000

// bounded refuses what began at start if it is longer than that.
func (e *encoder) bounded(start int) {
	if n := len(e.b) - start; n > maxHolding {
		e.fail(fmt.Errorf("an action of %d bytes that holds others: more than %d would end the switch", n, maxHolding))
	}
}

func (e *encoder) raw(a flows.Raw) {
	if n := len(a.Bytes); n < 8 || n%8 != 0 {
		e.fail(fmt.Errorf("%s is no action", a))
		return
	}
	e.bytes([]byte(a.Bytes))
}

// beginAction appends the head of an action; its length is filled in when it is whole.
func (e *encoder) beginAction(id actionID) {
	e.u16(id.typ)
	e.u16(0)
	if id.typ == actionExperimenter {
		e.u32(vendorNicira)
		e.u16(id.nicira)
	}
}

func (e *encoder) standard(typ uint16)   { e.beginAction(actionID{typ, 0}) }
func (e *encoder) nicira(subtype uint16) { e.beginAction(actionID{actionExperimenter, subtype}) }

// action appends an action without padding.
func (e *encoder) action(a flows.Action) {
	switch a := a.(type) {
	case flows.SetField:
		e.standard(actionSetField)
		e.oxm(flows.Term(a))
	case flows.Move:
		e.copyField(a)
	case flows.OutputTo:
		e.outputTo(a)
	case flows.ToGroup:
		e.standard(actionGroup)
		e.u32(a.Group)
	case flows.DecTTL:
		e.standard(actionDecTTL)
		e.zero(4)
	case flows.Resubmit:
		e.resubmit(a)
	case flows.Conjunction:
		e.nicira(niciraConjunction)
		e.u8(a.Clause - 1)
		e.u8(a.Clauses)
		e.u32(a.ID)
	case flows.CT:
		e.ct(a)
	case flows.NAT:
		e.nat(a)
	case flows.Learn:
		e.learn(a)
	case flows.Controller:
		e.controller(a)
	case flows.OutputField:
		e.outputField(a)
	case flows.OutputTruncated:
		e.nicira(niciraOutputTruncated)
		e.port16(a.Port)
		e.u32(a.MaxLen)
	case flows.Clone:
		e.nicira(niciraClone)
		e.zero(6)
		e.actions(a.Actions)
	case flows.Note:
		e.nicira(niciraNote)
		e.bytes([]byte(a.Padded()))
	case flows.Push:
		e.stack(niciraPush, a.From)
	case flows.Pop:
		e.stack(niciraPop, a.To)
	case flows.CheckPacketLarger:
		e.checkPacketLarger(a)
	case flows.FinTimeout:
		e.nicira(niciraFinTimeout)
		e.u16(a.Idle)
		e.u16(a.Hard)
	case flows.Number:
		e.number(a)
	case flows.Word:
		e.word(a)
	default:
		e.fail(fmt.Errorf("%v is an instruction, which cannot stand among actions", a))
	}
}

// maxNesting is how deep actions may stand in each other.
const maxNesting = 8

// actions reads all that is left as a list of actions. One that the vocabulary cannot
// express comes as flows.Raw.
func (d *decoder) actions() (list []flows.Action) {
	var room [16]flows.Action
	found := room[:0]
	for d.more() {
		whole := d.b
		typ, n := d.u16(), int(d.u16())
		if d.err == nil && (n < 8 || n%8 != 0) {
			d.fail(fmt.Errorf("action of %d bytes", n))
		}
		body := d.sub(n - 4)
		if d.err != nil {
			return nil
		}
		a, known := body.action(typ)
		if d.fail(body.err); d.err != nil {
			return nil
		}
		if !known {
			a = flows.Raw{Bytes: string(whole[:n])}
		}
		found = append(found, a)
	}
	if d.err != nil || len(found) == 0 {
		return nil
	}
	// Room for the goto_table that most flows end with.
	return append(make([]flows.Action, 0, len(found)+1), found...)
}

// action reads the body of one action.
func (d *decoder) action(typ uint16) (a flows.Action, known bool) {
	switch typ {
	case actionOutput:
		return output(d.u32(), d.u16())
	case actionGroup:
		return flows.ToGroup{Group: d.u32()}, true
	case actionDecTTL:
		return flows.DecTTL{}, true
	case actionSetField:
		t, strange := d.oxm()
		t.Value = t.Value.And(t.Mask)
		return flows.SetField(t), strange == ""
	case actionCopyField:
		return d.copyField()
	case actionExperimenter:
		if d.u32() != vendorNicira {
			return nil, false
		}
		return d.niciraAction(d.u16())
	}
	return d.simple(actionID{typ, 0})
}

// niciraAction reads the body of one of Open vSwitch's own actions.
func (d *decoder) niciraAction(subtype uint16) (a flows.Action, known bool) {
	switch subtype {
	case niciraResubmitTable, niciraResubmitTableCT:
		return d.resubmit(subtype == niciraResubmitTableCT)
	case niciraCT:
		return d.ct()
	case niciraNAT:
		return d.nat()
	case niciraConjunction:
		clause, clauses := d.u8(), d.u8()
		return flows.Conjunction{ID: d.u32(), Clause: clause + 1, Clauses: clauses}, clause < clauses
	case niciraLearn, niciraLearn2:
		return d.learn(subtype == niciraLearn2)
	case niciraController:
		return d.controller()
	case niciraController2:
		return d.controller2()
	case niciraOutputReg:
		return d.outputField()
	case niciraOutputTruncated:
		return flows.OutputTruncated{Port: port32(d.u16()), MaxLen: d.u32()}, true
	case niciraClone:
		d.skip(6)
		list, ok := d.nested()
		return flows.Clone{Actions: list}, ok
	case niciraNote:
		return d.note()
	case niciraPush, niciraPop:
		return d.stack(subtype)
	case niciraCheckPacketLarger:
		return d.checkPacketLarger()
	case niciraFinTimeout:
		return flows.FinTimeout{Idle: d.u16(), Hard: d.u16()}, true
	case niciraRegLoad:
		return d.load()
	}
	return d.simple(actionID{actionExperimenter, subtype})
}

// nested reads all that is left as actions within an action.
func (d *decoder) nested() (list []flows.Action, ok bool) {
	if d.depth == maxNesting {
		return nil, false
	}
	inner := decoder{b: d.b, err: d.err, depth: d.depth + 1}
	list = inner.actions()
	d.b, d.err = nil, inner.err
	return list, true
}
