package flows

import (
	"fmt"
	"strings"
)

// SetField writes the bits of a field that are set in Mask.
type SetField struct {
	Field       Field
	Value, Mask Value
}

// Move copies bits of a field to as many of another.
type Move struct{ From, To Subfield }

// Push saves bits of a field on a stack.
type Push struct{ From Subfield }

// Pop takes bits of a field from the stack.
type Pop struct{ To Subfield }

// CheckPacketLarger sets a bit if the packet has more than Bytes bytes.
type CheckPacketLarger struct {
	Bytes uint16
	To    Subfield
}

func (SetField) action()          {}
func (Move) action()              {}
func (Push) action()              {}
func (Pop) action()               {}
func (CheckPacketLarger) action() {}

// Set writes a whole field.
func Set(f Field, v Value) SetField { return SetField{f, v, f.Ones()} }

// SetBits writes the bits of a field (of at most 64) that are set in mask.
func SetBits(f Field, value, mask uint64) SetField {
	return SetField{f, Uint(value & mask), Uint(mask)}
}

// Load writes a value into bits of a field.
func Load(to Subfield, v Value) SetField {
	value, mask := to.place(v)
	if to == to.Field.All() {
		mask = to.Field.Ones()
	}
	return SetField{to.Field, value, mask}
}

// Copy copies a whole field to another of the same width.
func Copy(from, to Field) Move { return Move{from.All(), to.All()} }

func (a SetField) String() string {
	return "set_field:" + a.Field.maskedText(a.Value, a.Mask) + "->" + a.Field.Name()
}

func (a Move) String() string { return "move:" + a.From.String() + "->" + a.To.String() }
func (a Push) String() string { return "push:" + a.From.String() }
func (a Pop) String() string  { return "pop:" + a.To.String() }

func (a CheckPacketLarger) String() string {
	return fmt.Sprintf("check_pkt_larger(%d)->%s", a.Bytes, a.To)
}

func parseSetField(s string) (Action, error) {
	value, name, _ := strings.Cut(s, "->")
	f, ok := fieldBySet[name]
	if !ok {
		if names := fieldsByName[name]; len(names) == 1 {
			f, ok = names[0], true
		}
	}
	if !ok {
		return nil, fmt.Errorf("set_field: unknown field %q", name)
	}
	v, m, err := f.parseMasked(value)
	return SetField{f, v.And(m), m}, err
}

func parseMove(s string) (Action, error) {
	from, to, _ := strings.Cut(s, "->")
	f, err := parseSubfield(from)
	if err != nil {
		return nil, err
	}
	t, err := parseSubfield(to)
	if err == nil && f.Bits != t.Bits {
		err = fmt.Errorf("move: %s and %s differ in width", f, t)
	}
	return Move{f, t}, err
}

func parseLoad(s string) (Action, error) {
	value, to, _ := strings.Cut(s, "->")
	t, err := parseSubfield(to)
	if err != nil {
		return nil, err
	}
	v, ok := parseNumber(value)
	if !ok || v.And(ones(min(int(t.Bits), 128))) != v {
		return nil, fmt.Errorf("load: %q is no number of %d bits", value, t.Bits)
	}
	return Load(t, v), nil
}

func parseCheckPacketLarger(s string) (Action, error) {
	var a CheckPacketLarger
	bytes, to, _ := strings.Cut(s, ")->")
	if err := parseUint(strings.TrimPrefix(bytes, "("), 16, &a.Bytes); err != nil {
		return nil, err
	}
	var err error
	a.To, err = parseSubfield(to)
	return a, err
}
