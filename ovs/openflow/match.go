package openflow

import (
	"slices"

	"github.com/sluice-cni/sluice/flows"
)

// matchOXM is the only type of match there is (the specification, "Flow Match
// Header", enum ofp_match_type).
const matchOXM uint16 = 1

// match appends struct ofp_match.
func (e *encoder) match(m flows.Match) {
	proto := protoOf(m)
	start := e.beginMatch()
	// Prerequisites go before what needs them: the switch reads in this order.
	for _, first := range []flows.Field{flows.EthType, flows.IPProto} {
		if t, ok := m.Get(first); ok {
			e.oxm(t.Field, t.Value, t.Mask, proto)
		}
	}
	// Conntrack's state goes before what only a tracked packet has, and stands
	// before it in the vocabulary's order too.
	for _, t := range m {
		if t.Field != flows.EthType && t.Field != flows.IPProto {
			e.oxm(t.Field, t.Value, t.Mask, proto)
		}
	}
	e.endMatch(start)
}

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

// protoOf is the IP protocol that a match names, protoAny if none.
func protoOf(m flows.Match) uint8 {
	t, ok := m.Get(flows.IPProto)
	if !ok || t.Mask != allOnes(flows.IPProto) {
		return protoAny
	}
	return uint8(t.Value.Uint64())
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
	var needs uint8
	fields := decoder{b: raw}
	for fields.more() {
		h := oxmHeader(fields.u32())
		if h.isPacketRegister() {
			for _, t := range fields.packetRegister(h) {
				if t.Mask != (flows.Value{}) {
					terms = append(terms, t)
				}
			}
			continue
		}
		o, value, mask, odd := fields.oxmBody(h)
		switch {
		case fields.err != nil:
		case odd != "":
			strange = odd
		case o.proto != protoAny && needs != protoAny && o.proto != needs:
			strange = "fields of two protocols"
		default:
			if o.proto != protoAny {
				needs = o.proto
			}
			terms = append(terms, flows.Term{Field: o.field, Value: value, Mask: mask})
		}
	}
	if d.fail(fields.err); d.err != nil {
		return nil, nil, ""
	}
	slices.SortFunc(terms, func(a, b flows.Term) int { return int(a.Field) - int(b.Field) })
	for i := 1; i < len(terms); i++ {
		if terms[i].Field == terms[i-1].Field {
			strange = "the same field twice"
		}
	}
	if strange != "" || len(terms) == 0 {
		return nil, raw, strange
	}
	m = slices.Clone(terms)
	if needs != protoAny && needs != protoOf(m) {
		return nil, raw, "a transport field without its protocol"
	}
	return m, raw, ""
}
