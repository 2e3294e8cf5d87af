package openflow

import (
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// matchOXM is the only type of match there is (the specification, "Flow Match
// Header", enum ofp_match_type).
const matchOXM uint16 = 1

// match appends struct ofp_match. What others need goes before them, since the switch
// reads in this order: kind of packet, EtherType and protocol first; the rest of the
// vocabulary's order sees to it.
func (e *encoder) match(m flows.Match) {
	start := e.beginMatch()
	for _, t := range m {
		if first(t.Field) {
			e.term(t)
		}
	}
	for _, t := range m {
		if !first(t.Field) {
			e.term(t)
		}
	}
	e.endMatch(start)
}

func first(f flows.Field) bool {
	return f == flows.PacketType || f == flows.EthType || f == flows.IPProto
}

func (e *encoder) term(t flows.Term) {
	if maskedWhole(t) {
		e.fail(fmt.Errorf("field %s cannot be masked", t.Field))
		return
	}
	e.oxm(t)
}

// maskedWhole tells whether a match cannot name those bits alone.
func maskedWhole(t flows.Term) bool { return t.Mask != t.Field.Ones() && !t.Field.Maskable() }

// rawMatch appends struct ofp_match around fields that are encoded already.
func (e *encoder) rawMatch(fields []byte) {
	start := e.beginMatch()
	e.bytes(fields)
	e.endMatch(start)
}

func (e *encoder) beginMatch() (start int) {
	start = len(e.b)
	e.u16(matchOXM)
	e.u16(0)
	return start
}

// endMatch writes the length, which does not count the padding.
func (e *encoder) endMatch(start int) {
	e.length(start+2, start)
	e.pad(start)
}

// match reads struct ofp_match. raw is its fields, as they came; strange says why
// the vocabulary cannot express them.
func (d *decoder) match() (m flows.Match, raw []byte, strange string) {
	typ, n := d.u16(), int(d.u16())
	raw = d.take(n - 4)
	d.skip(padded(n) - n)
	if d.err != nil {
		return nil, nil, ""
	}
	if typ != matchOXM {
		return nil, raw, "a match that is not OXM"
	}
	var room [16]flows.Term
	terms := room[:0]
	fields := decoder{b: raw}
	for fields.more() {
		t, odd := fields.oxm()
		switch {
		case fields.err != nil:
		case odd != "":
			strange = odd
		case maskedWhole(t):
			strange = "masked " + t.Field.Name()
		default:
			terms = append(terms, t)
		}
	}
	if d.fail(fields.err); d.err != nil {
		return nil, nil, ""
	}
	m, ok := flows.MatchOf(terms)
	switch {
	case strange != "":
		return nil, raw, strange
	case !ok:
		return nil, raw, "the same field twice"
	}
	if f, found := m.Unspoken(); found {
		return nil, raw, f.Name() + " without its protocol"
	}
	return m, raw, ""
}
