package flows

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Term is one condition of a match: the field's bits under Mask equal Value.
type Term struct {
	Field       Field
	Value, Mask Value
}

// canonical appends the term in the fields and bits in which a switch describes it:
// 64- and 128-bit registers as registers of 32 bits, of VLAN tags and DSCP one field
// each. Most terms are so already; one that says nothing is left out.
func (t Term) canonical(out []Term) []Term {
	t.Value = t.Value.And(t.Mask)
	value, mask := t.Value.Uint64(), t.Mask.Uint64()
	switch f := t.Field; {
	case f >= XReg0 && f <= XXReg3:
		return t.registers(out)
	case f == InPort16:
		if value >= firstReserved16 {
			value |= 0xffff0000
		}
		return append(out, Term{InPort, Uint(value), InPort.Ones()})
	case f == IPTOS:
		return append(out, Term{IPDSCP, Uint(value >> 2), IPDSCP.Ones()})
	case f == VLANVID:
		t = Term{VLANTCI, Uint(value & 0x1fff), Uint(mask & 0x1fff)}
	case f == VLANPCP:
		return append(out, Term{VLANTCI, Uint(value&7<<13 | vlanPresent), Uint(0xe000 | vlanPresent)})
	case f == VLANTCI && mask&0xe000 != 0 && value&0x1fff == 0:
		t.Mask = Uint(mask & 0x1fff) // no tag has no priority
	case f == VLANTCI && mask&0xe000 != 0:
		t.Value, t.Mask = Uint(value|vlanPresent), Uint(mask|0xf000)
	case f == CTState:
		t.Mask = Uint(mask & 0xff)
	case f == TunFlags:
		t.Mask = Uint(mask & 1)
	case f == IPFrag && mask&3 == 3:
		t.Mask = f.Ones()
	case f == TCPFlags && mask&0xfff == 0xfff:
		t.Mask = f.Ones()
	case f == PacketType && value == 0: // Ethernet, which is what is meant without it
		return out
	}
	if t.Mask == (Value{}) && !t.Field.Variable() { // of a tunnel option it says that it is there
		return out
	}
	t.Value = t.Value.And(t.Mask)
	return append(out, t)
}

const firstReserved16 = 0xff00

// registers appends the registers of 32 bits that a wider one consists of.
func (t Term) registers(out []Term) []Term {
	first, n := Reg0+2*(t.Field-XReg0), 2
	if t.Field >= XXReg0 {
		first, n = Reg0+4*(t.Field-XXReg0), 4
	}
	for i := range n {
		at := 16 - 4*(n-i)
		part := Term{Field: first + Field(i)}
		copy(part.Value[12:], t.Value[at:at+4])
		copy(part.Mask[12:], t.Mask[at:at+4])
		if part.Mask != (Value{}) {
			out = append(out, part)
		}
	}
	return out
}

// String is the term as ovs-ofctl prints it: field=value, with the mask if there is one.
func (t Term) String() string {
	return t.Field.String() + t.valueText()
}

// valueText is a term without the field's name: "=" and the value.
func (t Term) valueText() string {
	value, mask := t.Value.Uint64(), t.Mask.Uint64()
	whole := t.Mask == t.Field.Ones()
	hexBoth := "=" + hexText(t.Value) + "/" + hexText(t.Mask)
	switch fieldTable[t.Field].form {
	case ctStateFlags:
		if mask == 0xff {
			return "=" + flagsText(value, ctStateNames)
		}
		return flagTerm(t, ctStateNames, hexBoth)
	case tcpFlags:
		if whole {
			return "=" + flagsText(value, tcpFlagNames)
		}
		return flagTerm(t, tcpFlagNames, hexBoth)
	case tunFlags:
		return flagTerm(t, tunFlagNames, hexBoth)
	case fragment:
		for _, w := range fragments {
			if w.value == value && w.mask == mask {
				return "=" + w.word
			}
		}
		return hexBoth
	case flowLabel:
		if whole {
			return fmt.Sprintf("=0x%05x", value)
		}
		return fmt.Sprintf("=0x%05x/0x%05x", value, mask)
	case vlanTCI:
		if mask == 0xffff {
			return fmt.Sprintf("=0x%04x", value)
		}
		return fmt.Sprintf("=0x%04x/0x%04x", value, mask)
	case decimal:
		if !whole {
			return fmt.Sprintf("=0x%x/0x%x", value, mask)
		}
	case packetType:
		if space := value >> 16; space != 1 {
			return fmt.Sprintf("=(%d,%d)", space, value&0xffff)
		}
		return fmt.Sprintf("=(1,0x%x)", value&0xffff)
	}
	if t.Field == EthType && whole {
		return fmt.Sprintf("=0x%04x", value)
	}
	if t.Field.Variable() && t.Mask == (Value{}) {
		return "" // the option is there
	}
	return "=" + t.Field.maskedText(t.Value, t.Mask)
}

func flagTerm(t Term, names []string, numbers string) string {
	if text, ok := maskedFlagsText(t.Value.Uint64(), t.Mask.Uint64(), names); ok && text != "" {
		return "=" + text
	}
	return numbers
}

// parseTerm reads what stands behind a field's name and "=".
func parseTerm(f Field, s string) (Term, error) {
	names := map[form][]string{ctStateFlags: ctStateNames, tcpFlags: tcpFlagNames, tunFlags: tunFlagNames}[fieldTable[f].form]
	if names != nil {
		if v, m, ok := parseMaskedFlags(s, names); ok {
			return Term{f, Uint(v), Uint(m)}, nil
		}
		if v, ok := parseFlags(s, names); ok {
			return Term{f, Uint(v), f.Ones()}, nil
		}
	}
	if fieldTable[f].form == fragment {
		for _, w := range fragments {
			if w.word == s {
				return Term{f, Uint(w.value), Uint(w.mask)}, nil
			}
		}
	}
	if fieldTable[f].form == packetType {
		return parsePacketType(s)
	}
	v, m, err := f.parseMasked(s)
	return Term{f, v, m}, err
}

func parsePacketType(s string) (Term, error) {
	space, typ, _ := strings.Cut(strings.Trim(s, "()"), ",")
	n, err := strconv.ParseUint(space, 0, 16)
	if err != nil {
		return Term{}, fmt.Errorf("packet_type: %q is none", s)
	}
	t, err := strconv.ParseUint(typ, 0, 16)
	if err != nil {
		return Term{}, fmt.Errorf("packet_type: %q is none", s)
	}
	return Term{PacketType, Uint(n<<16 | t), PacketType.Ones()}, nil
}

// vlanWords are ovs-ofctl's own words for parts of VLANTCI.
var vlanWords = map[string]func(n uint64) Term{
	"dl_vlan":     func(n uint64) Term { return Term{VLANTCI, Uint(n | vlanPresent), Uint(0x1fff)} },
	"dl_vlan_pcp": func(n uint64) Term { return Term{VLANPCP, Uint(n), VLANPCP.Ones()} },
}

// vlanText is a term of VLANTCI in those words, if they can say it.
func (t Term) vlanText() string {
	value, mask := t.Value.Uint64(), t.Mask.Uint64()
	vid, pcp := mask&0xfff, mask&0xe000
	whole := (vid == 0 || vid == 0xfff) && (pcp == 0 || pcp == 0xe000) && vid|pcp != 0
	if !whole || value&mask&vlanPresent == 0 {
		return t.String()
	}
	var out []string
	if vid != 0 {
		out = append(out, fmt.Sprintf("dl_vlan=%d", value&0xfff))
	}
	if pcp != 0 {
		out = append(out, fmt.Sprintf("dl_vlan_pcp=%d", value>>13))
	}
	return strings.Join(out, ",")
}

func sortTerms(list []Term) {
	slices.SortFunc(list, func(a, b Term) int { return int(a.Field) - int(b.Field) })
}
