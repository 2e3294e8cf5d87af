package flows

import (
	"fmt"
	"slices"
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
	f := Flow{Priority: 32768}
	var s Stats
	head, actions, ok := strings.Cut(strings.TrimSpace(line), "actions=")
	if !ok {
		return Flow{}, Stats{}, fmt.Errorf("flow %q: no actions", line)
	}
	err := f.parse(&s, head, actions)
	if err != nil {
		return Flow{}, Stats{}, fmt.Errorf("flow %q: %w", line, err)
	}
	return f, s, nil
}

func (f *Flow) parse(s *Stats, head, actions string) (err error) {
	var later [][2]string // fields whose names are several's
	for _, word := range splitWords(head) {
		name, value, _ := strings.Cut(word, "=")
		known, err := f.parseWord(s, name, value)
		if err != nil {
			return err
		}
		if !known {
			later = append(later, [2]string{name, value})
		}
	}
	for _, w := range later {
		field, err := f.Match.field(w[0])
		if err != nil {
			return err
		}
		t, err := parseTerm(field, w[1])
		if err != nil {
			return err
		}
		f.Match = f.Match.With(t)
	}
	f.Actions, err = parseActions(strings.TrimSpace(actions))
	return err
}

// field is the field of that name that the match can have.
func (m Match) field(name string) (Field, error) {
	for _, f := range fieldsByName[name] {
		if f.Needs().Met(m) {
			return f, nil
		}
	}
	return 0, fmt.Errorf("%s means nothing unless the match names a protocol that has it", name)
}

// parseWord reads one word of a flow. known is false for a field whose name is that of
// several.
func (f *Flow) parseWord(s *Stats, name, value string) (known bool, err error) {
	switch name {
	case "cookie":
		err = parseUint(value, 64, &f.Cookie)
	case "table":
		err = parseUint(value, 8, &f.Table)
	case "priority":
		err = parseUint(value, 16, &f.Priority)
	case "idle_timeout":
		err = parseUint(value, 16, &f.IdleTimeout)
	case "hard_timeout":
		err = parseUint(value, 16, &f.HardTimeout)
	case "importance":
		err = parseUint(value, 16, &f.Importance)
	case "n_packets":
		err = parseUint(value, 64, &s.Packets)
	case "n_bytes":
		err = parseUint(value, 64, &s.Bytes)
	case "duration", "idle_age", "hard_age":
	default:
		return f.parseMatchWord(name, value)
	}
	return true, err
}

func (f *Flow) parseMatchWord(name, value string) (known bool, err error) {
	if term, ok := vlanWords[name]; ok {
		var n uint64
		err := parseUint(value, 12, &n)
		f.Match = f.Match.With(term(n))
		return true, err
	}
	if i := slices.Index(flagWords, name); i >= 0 && value == "" {
		f.Flags |= 1 << i
		return true, nil
	}
	names := fieldsByName[name]
	if len(names) == 0 {
		return true, f.parseKeyword(name)
	}
	if len(names) > 1 && name != InPort.String() {
		return false, nil
	}
	if value == "" && names[0].Variable() {
		f.Match = f.Match.With(Term{Field: names[0]})
		return true, nil
	}
	t, err := parseTerm(names[0], value)
	if err == nil {
		f.Match = f.Match.With(t)
	}
	return true, err
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

// splitWords cuts at commas and spaces that stand in no parentheses.
func splitWords(s string) []string {
	depth := 0
	return strings.FieldsFunc(s, func(r rune) bool {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		return depth == 0 && (r == ',' || r == ' ')
	})
}
