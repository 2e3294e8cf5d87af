package openflow

import (
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// words and numbers are the actions without, and with one argument: a type of
// OpenFlow's, or one of Open vSwitch's.
var words = map[flows.Word]actionID{
	flows.PopVLAN: {18, 0}, flows.PopQueue: {actionExperimenter, 5}, flows.Exit: {actionExperimenter, 17}, flows.CTClear: {actionExperimenter, 43},
}

var numbers = map[flows.NumberName]actionID{
	flows.PushVLAN: {17, 0}, flows.PushMPLS: {19, 0}, flows.PopMPLS: {20, 0}, flows.SetQueue: {21, 0}, flows.SetTTL: {23, 0}, flows.UseMeter: {29, 0},
}

// actionID is an action's type, and Open vSwitch's if it is actionExperimenter.
type actionID struct{ typ, nicira uint16 }

var (
	wordOf   = reverse(words)
	numberOf = reverse(numbers)
)

func reverse[T comparable](ids map[T]actionID) map[actionID]T {
	out := make(map[actionID]T, len(ids))
	for a, id := range ids {
		out[id] = a
	}
	return out
}

func (e *encoder) word(a flows.Word) {
	id, ok := words[a]
	if !ok {
		e.fail(fmt.Errorf("%s cannot stand among actions", a))
	}
	e.beginAction(id)
}

func (e *encoder) number(a flows.Number) {
	id, ok := numbers[a.Name]
	if !ok {
		e.fail(fmt.Errorf("unknown action %s", a))
	}
	e.beginAction(id)
	switch a.Name {
	case flows.SetQueue, flows.UseMeter:
		e.u32(a.N)
	case flows.SetTTL:
		e.u8(uint8(a.N))
	default:
		e.u16(uint16(a.N))
	}
}

// simple reads what is left of an action without or with one argument.
func (d *decoder) simple(id actionID) (a flows.Action, known bool) {
	if word, ok := wordOf[id]; ok {
		return word, true
	}
	name, ok := numberOf[id]
	switch name {
	case flows.SetQueue, flows.UseMeter:
		return flows.Number{Name: name, N: d.u32()}, ok
	case flows.SetTTL:
		return flows.Number{Name: name, N: uint32(d.u8())}, ok
	}
	return flows.Number{Name: name, N: uint32(d.u16())}, ok
}
