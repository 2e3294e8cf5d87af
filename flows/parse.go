package flows

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Stats are what a switch counts for a flow.
type Stats struct {
	Packets, Bytes uint64
}

// Parse reads one flow as `ovs-ofctl dump-flows` prints it (port and table
// numbers, not names) or as String writes it. What the vocabulary does not know is
// an error that names it.
func Parse(line string) (Flow, Stats, error) {
	head, actions, ok := strings.Cut(strings.TrimSpace(line), "actions=")
	if !ok {
		return Flow{}, Stats{}, fmt.Errorf("flow %q: no actions", line)
	}
	f := Flow{Priority: 32768}
	var s Stats
	for word := range strings.FieldsFuncSeq(head, func(r rune) bool { return r == ',' || r == ' ' }) {
		if err := f.parseWord(&s, word); err != nil {
			return Flow{}, Stats{}, fmt.Errorf("flow %q: %w", line, err)
		}
	}
	var err error
	if f.Actions, err = parseActions(strings.TrimSpace(actions)); err != nil {
		return Flow{}, Stats{}, fmt.Errorf("flow %q: %w", line, err)
	}
	return f, s, nil
}

func (f *Flow) parseWord(s *Stats, word string) error {
	name, value, hasValue := strings.Cut(word, "=")
	if !hasValue {
		return f.parseKeyword(word)
	}
	var n uint64
	var err error
	switch name {
	case "cookie":
		n, err = strconv.ParseUint(value, 0, 64)
		f.Cookie = Cookie(n)
	case "table":
		n, err = strconv.ParseUint(value, 0, 8)
		f.Table = TableID(n)
	case "priority":
		n, err = strconv.ParseUint(value, 0, 16)
		f.Priority = uint16(n)
	case "n_packets":
		s.Packets, err = strconv.ParseUint(value, 10, 64)
	case "n_bytes":
		s.Bytes, err = strconv.ParseUint(value, 10, 64)
	case "duration", "idle_age", "hard_age":
	default:
		field, ok := fieldByName[name]
		if !ok {
			return fmt.Errorf("unknown field %q", name)
		}
		var t Term
		if t, err = parseTerm(field, value); err == nil {
			f.Match = f.Match.With(t)
		}
	}
	return err
}

func (f *Flow) parseKeyword(word string) error {
	for _, p := range protocols {
		if p.word == word {
			f.Match = f.Match.Is(EthType, Uint(p.ethType))
			if p.proto >= 0 {
				f.Match = f.Match.Is(IPProto, Uint(uint64(p.proto)))
			}
			return nil
		}
	}
	return fmt.Errorf("unknown word %q", word)
}

func parseTerm(f Field, s string) (Term, error) {
	if fieldTable[f].form == ctStateFlags {
		return parseCTState(s)
	}
	value, mask, masked := strings.Cut(s, "/")
	v, err := f.parse(value)
	if err != nil || !masked {
		return Term{f, v, ones(f.Bits())}, err
	}
	m, err := f.parseMask(mask)
	return Term{f, v, m}, err
}

func (f Field) parseMask(s string) (Value, error) {
	switch fieldTable[f].form {
	case ipv4, ipv6:
		if n, err := strconv.Atoi(s); err == nil {
			if n < 0 || n > f.Bits() {
				return Value{}, fmt.Errorf("%s: prefix length %d", f, n)
			}
			return prefixMask(f.Bits(), n), nil
		}
	}
	return f.parse(s)
}

func parseCTState(s string) (Term, error) {
	var value, mask uint64
	for s != "" {
		sign := s[0]
		end := strings.IndexAny(s[1:], "+-") + 1
		if end == 0 {
			end = len(s)
		}
		i := slices.Index(ctStateNames, s[1:end])
		if i < 0 || (sign != '+' && sign != '-') {
			return Term{}, fmt.Errorf("ct_state: unknown flag %q", s[:end])
		}
		mask |= 1 << i
		if sign == '+' {
			value |= 1 << i
		}
		s = s[end:]
	}
	return Term{CTState, Uint(value), Uint(mask)}, nil
}

func parseActions(s string) ([]Action, error) {
	if s == "drop" {
		return nil, nil
	}
	var out []Action
	for _, text := range splitActions(s) {
		a, err := parseAction(text)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// splitActions cuts at the commas that stand in no parentheses.
func splitActions(s string) []string {
	var out []string
	depth, start := 0, 0
	for i, r := range s {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, s[start:i])
				start = i + 1
			}
		}
	}
	return append(out, s[start:])
}

func parseAction(s string) (Action, error) {
	for p, name := range reservedPorts {
		if s == name {
			return OutputTo{p}, nil
		}
	}
	if s == "dec_ttl" {
		return DecTTL{}, nil
	}
	if table, ok := strings.CutPrefix(s, "resubmit(,"); ok {
		n, err := strconv.ParseUint(strings.TrimSuffix(table, ")"), 10, 8)
		return Resubmit{TableID(n)}, err
	}
	name, arg, _ := strings.Cut(s, ":")
	switch name {
	case "output":
		p, err := parsePort(arg)
		return OutputTo{p}, err
	case "goto_table":
		n, err := strconv.ParseUint(arg, 10, 8)
		return Goto{TableID(n)}, err
	case "group":
		n, err := strconv.ParseUint(arg, 10, 32)
		return ToGroup{uint32(n)}, err
	case "set_field":
		return parseSetField(arg)
	case "move":
		return parseMove(arg)
	}
	return nil, fmt.Errorf("unknown action %q", s)
}

func parseSetField(s string) (Action, error) {
	value, name, _ := strings.Cut(s, "->")
	f, ok := fieldBySet[name]
	if !ok {
		return nil, fmt.Errorf("set_field: unknown field %q", name)
	}
	value, mask, masked := strings.Cut(value, "/")
	v, err := f.parse(value)
	if err != nil {
		return nil, err
	}
	if !masked {
		return Set(f, v), nil
	}
	m, err := f.parse(mask)
	return SetField{f, v, m}, err
}

func parseMove(s string) (Action, error) {
	from, to, _ := strings.Cut(s, "->")
	f, okFrom := fieldByNXM[strings.TrimSuffix(from, "[]")]
	t, okTo := fieldByNXM[strings.TrimSuffix(to, "[]")]
	if !okFrom || !okTo {
		return nil, fmt.Errorf("move: unknown field in %q", s)
	}
	return Move{f, t}, nil
}
