package flows

import (
	"fmt"
	"strconv"
	"strings"
)

// Subfield is Bits bits of a field, from bit Start on; bit 0 is the lowest.
type Subfield struct {
	Field       Field
	Start, Bits uint16
}

// All is the whole field as a subfield.
func (f Field) All() Subfield { return Subfield{f, 0, uint16(f.Bits())} }

// From is the n bits of the field from bit start on.
func (f Field) From(start, n int) Subfield { return Subfield{f, uint16(start), uint16(n)} }

// String is the subfield as ovs-ofctl writes it: NAME[], NAME[bit] or NAME[first..last].
func (s Subfield) String() string {
	name := fieldTable[s.Field].nxm
	switch {
	case s == s.Field.All():
		return name + "[]"
	case s.Bits == 1:
		return name + "[" + strconv.Itoa(int(s.Start)) + "]"
	}
	return fmt.Sprintf("%s[%d..%d]", name, s.Start, int(s.Start)+int(s.Bits)-1)
}

// Valid tells whether the field has those bits.
func (s Subfield) Valid() bool {
	return s.Field < numFields && s.Bits > 0 && int(s.Start)+int(s.Bits) <= s.Field.Bits()
}

func parseSubfield(s string) (Subfield, error) {
	name, bits, ok := strings.Cut(s, "[")
	f, known := fieldByNXM[name]
	if !known {
		f, known = fieldBySet[name]
	}
	if !ok || !known || !strings.HasSuffix(bits, "]") {
		return Subfield{}, fmt.Errorf("%q is no field with its bits", s)
	}
	bits = strings.TrimSuffix(bits, "]")
	if bits == "" {
		return f.All(), nil
	}
	first, last, isRange := strings.Cut(bits, "..")
	if !isRange {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 10)
	if err != nil {
		return Subfield{}, fmt.Errorf("%q: no bit %q", s, first)
	}
	b, err := strconv.ParseUint(last, 10, 10)
	sub := Subfield{f, uint16(a), uint16(b - a + 1)}
	if err != nil || b < a || !sub.Valid() {
		return Subfield{}, fmt.Errorf("%q: no bits %q", s, bits)
	}
	return sub, nil
}

// place moves a value to where the subfield is in its field, and gives the mask of
// the subfield's bits; of a field of more than 128 bits, the last 128.
func (s Subfield) place(v Value) (value, mask Value) {
	return v.shift(int(s.Start)), ones(min(int(s.Bits), 128)).shift(int(s.Start))
}

// shift moves the bits n to the left.
func (v Value) shift(n int) (out Value) {
	for i := range 128 - min(n, 128) {
		from := 127 - i
		to := from - n
		out[to/8] |= v[from/8] >> (7 - from%8) & 1 << (7 - to%8)
	}
	return out
}
