package openflow

import (
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// Flags of struct nx_action_learn.
const (
	learnSendFlowRemoved uint16 = 1
	learnDeleteLearned   uint16 = 2
	learnWriteResult     uint16 = 4
)

// The head of a spec: how many bits, where they come from, what they are for
// (nicira-ext.h, NX_LEARN_*).
const (
	learnBits      uint16 = 0x7ff
	learnImmediate uint16 = 1 << 13
	learnKindShift        = 11
)

// learn appends struct nx_action_learn, or nx_action_learn2 if it takes that.
func (e *encoder) learn(a flows.Learn) {
	second := a.Limit != 0 || a.Result.Bits > 0
	subtype := niciraLearn
	if second {
		subtype = niciraLearn2
	}
	e.nicira(subtype)
	e.u16(a.IdleTimeout)
	e.u16(a.HardTimeout)
	e.u16(a.Priority)
	e.u64(uint64(a.Cookie))
	e.u16(bit(a.SendFlowRemoved, learnSendFlowRemoved) | bit(a.DeleteLearned, learnDeleteLearned) | bit(a.Result.Bits > 0, learnWriteResult))
	e.u8(uint8(a.Table))
	e.zero(1)
	e.u16(a.FinIdleTimeout)
	e.u16(a.FinHardTimeout)
	if second {
		e.u32(a.Limit)
		e.u16(a.Result.Start)
		e.zero(2)
		if a.Result.Bits > 1 {
			e.fail(fmt.Errorf("%s: the result is one bit", a))
		} else if a.Result.Bits == 1 {
			e.header(a.Result)
		}
	}
	for _, s := range a.Specs {
		e.learnSpec(s)
	}
}

func (e *encoder) learnSpec(s flows.LearnSpec) {
	n := s.To.Bits
	if s.Kind == flows.LearnOutput {
		n = s.From.Bits
	}
	if n == 0 || n > learnBits || s.From.Bits != 0 && s.From.Bits != n || s.From.Bits == 0 && n > 128 {
		e.fail(fmt.Errorf("learn: %s: the fields differ in width", s))
		return
	}
	head := uint16(s.Kind)<<learnKindShift | n
	if s.From.Bits == 0 {
		e.u16(head | learnImmediate)
		e.bytes(s.Value[16-immediate(n):])
	} else {
		e.u16(head)
		e.header(s.From)
		e.u16(s.From.Start)
	}
	if s.Kind != flows.LearnOutput {
		e.header(s.To)
		e.u16(s.To.Start)
	}
}

// immediate is in how many bytes a value of n bits stands.
func immediate(n uint16) int { return (int(n) + 15) / 16 * 2 }

func (d *decoder) learn(second bool) (a flows.Action, known bool) {
	l := flows.Learn{IdleTimeout: d.u16(), HardTimeout: d.u16(), Priority: d.u16(), Cookie: flows.Cookie(d.u64())}
	flags := d.u16()
	l.SendFlowRemoved, l.DeleteLearned = flags&learnSendFlowRemoved != 0, flags&learnDeleteLearned != 0
	l.Table = flows.TableID(d.u8())
	d.skip(1)
	l.FinIdleTimeout, l.FinHardTimeout = d.u16(), d.u16()
	known = flags < learnWriteResult || second && flags < 2*learnWriteResult
	if second {
		l.Limit = d.u32()
		start := d.u16()
		d.skip(2)
		if flags&learnWriteResult != 0 {
			var ok bool
			l.Result, ok = d.subfield(start, 1)
			known = known && ok
		}
	}
	for known && d.more() && len(d.b) >= 2 {
		head := d.u16()
		if head == 0 {
			break // the rest is padding
		}
		spec, ok := d.learnSpec(head)
		if known = ok; ok {
			l.Specs = append(l.Specs, spec)
		}
	}
	return l, known
}

func (d *decoder) learnSpec(head uint16) (s flows.LearnSpec, known bool) {
	n := head & learnBits
	s.Kind = flows.LearnKind(head >> learnKindShift & 3)
	fromField := head&learnImmediate == 0
	if n == 0 || head>>14 != 0 || s.Kind > flows.LearnOutput || s.Kind == flows.LearnOutput && !fromField {
		return s, false
	}
	if fromField {
		s.From, known = d.offsetSubfield(n)
	} else if n <= 128 {
		w := immediate(n)
		copy(s.Value[16-w:], d.take(w))
		known = s.Value == s.Value.And(flows.LowBits(int(n)))
	}
	if !known || s.Kind == flows.LearnOutput {
		return s, known
	}
	s.To, known = d.offsetSubfield(n)
	return s, known
}

// offsetSubfield reads a header and the first bit.
func (d *decoder) offsetSubfield(n uint16) (s flows.Subfield, known bool) {
	header := decoder{b: d.take(4)}
	return header.subfield(d.u16(), n)
}
