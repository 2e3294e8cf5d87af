package openflow

import (
	"fmt"

	"github.com/sluice-cni/sluice/flows"
)

// classOXS is OXS_OF_*: counters, not fields (the specification, "OXM classes").
const classOXS uint16 = 0x8002

// maxVariable is how many bytes a field can have whose width the switch decides.
const maxVariable = 124

// oxmHeader is the first four bytes of a field: class, number, whether a mask follows
// the value, and how many bytes they have (the specification, "Flow Match Field
// Structures").
type oxmHeader uint32

func headerOf(id flows.OXM, width int) oxmHeader {
	return oxmHeader(uint32(id.Class)<<16 | uint32(id.Number)<<9 | uint32(width))
}

func (h oxmHeader) class() uint16 { return uint16(h >> 16) }
func (h oxmHeader) number() uint8 { return uint8(h>>9) & 0x7f }
func (h oxmHeader) masked() bool  { return h&(1<<8) != 0 }
func (h oxmHeader) length() int   { return int(h & 0xff) }

// withMask is the header of the same field with a mask.
func (h oxmHeader) withMask() oxmHeader { return h | 1<<8 + h&0xff }

func (h oxmHeader) String() string { return fmt.Sprintf("field %#04x:%d", h.class(), h.number()) }

// Indexes of the vocabulary's fields: their headers without mask, and the fields, plus
// one, by class and number.
var (
	headers = func() (index [256]oxmHeader) {
		for f := range flows.NumFields {
			index[f] = headerOf(f.OXM(), f.Width())
		}
		return index
	}()
	fieldsOfClass = func() map[uint16]*[128]flows.Field {
		index := map[uint16]*[128]flows.Field{}
		add := func(id flows.OXM, f flows.Field) {
			if index[id.Class] == nil {
				index[id.Class] = new([128]flows.Field)
			}
			index[id.Class][id.Number] = f + 1
		}
		for f := range flows.NumFields {
			add(f.OXM(), f)
			if id, ok := f.NXM(); ok {
				add(id, f)
			}
		}
		return index
	}()
	basicFields, niciraFields = fieldsOfClass[flows.ClassBasic], fieldsOfClass[flows.ClassNXM1]
)

// field finds the vocabulary's field.
func (h oxmHeader) field() (f flows.Field, ok bool) {
	list := basicFields
	switch h.class() {
	case flows.ClassBasic:
	case flows.ClassNXM1:
		list = niciraFields
	default:
		if list = fieldsOfClass[h.class()]; list == nil {
			return 0, false
		}
	}
	if f = list[h.number()]; f == 0 {
		return 0, false
	}
	return f - 1, true
}

// oxm appends a field with its value, and its mask if that is not all ones.
func (e *encoder) oxm(t flows.Term) {
	h, w := headers[t.Field], t.Field.Width()
	masked := t.Mask != t.Field.Ones()
	if t.Field.Variable() {
		w = significant(t.Value)
		if masked {
			w = max(w, significant(t.Mask))
		}
		h = headerOf(t.Field.OXM(), w)
	}
	if masked {
		h = h.withMask()
	}
	e.u32(uint32(h))
	e.bytes(t.Value[16-w:])
	if masked {
		e.bytes(t.Mask[16-w:])
	}
}

// significant is in how many bytes a value can be told.
func significant(v flows.Value) int {
	for i, b := range v {
		if b != 0 {
			return 16 - i
		}
	}
	return 1
}

// oxm reads a field with its value and mask. strange says what the vocabulary cannot
// express; the field has been skipped then.
func (d *decoder) oxm() (t flows.Term, strange string) {
	return d.oxmBody(oxmHeader(d.u32()))
}

// oxmBody is oxm after the header.
func (d *decoder) oxmBody(h oxmHeader) (t flows.Term, strange string) {
	body := d.sub(h.length())
	if d.err != nil {
		return t, ""
	}
	f, ok := h.field()
	if !ok {
		return t, "unknown " + h.String()
	}
	w := len(body.b)
	if h.masked() {
		w /= 2
	}
	if f.Variable() && (w == 0 || w > maxVariable) || !f.Variable() && w != f.Width() || h.masked() && 2*w != len(body.b) {
		d.fail(fmt.Errorf("field %s has %d bytes", f, len(body.b)))
		return t, ""
	}
	t.Field, t.Mask = f, f.Ones()
	fits := body.right(&t.Value, w)
	if h.masked() {
		t.Mask = flows.Value{}
		fits = body.right(&t.Mask, w) && fits
	}
	if !fits {
		return t, "a long " + f.String()
	}
	return t, ""
}

// right reads a number of w bytes. fits is false if it has more than 128 bits.
func (d *decoder) right(v *flows.Value, w int) (fits bool) {
	if w > len(v) {
		for _, b := range d.take(w - len(v)) {
			if b != 0 {
				d.skip(len(v))
				return false
			}
		}
		w = len(v)
	}
	copy(v[len(v)-w:], d.take(w))
	return true
}
