package flows

import (
	"fmt"
	"strconv"
	"strings"
)

// maxNesting bounds how deep actions may stand in each other.
const maxNesting = 8

func parseActions(s string) ([]Action, error) {
	if s == "drop" || s == "" {
		return nil, nil
	}
	if depth(s) > maxNesting {
		return nil, fmt.Errorf("more than %d parentheses in each other", maxNesting)
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

// depth is how deep parentheses stand in each other.
func depth(s string) (most int) {
	now := 0
	for _, r := range s {
		switch r {
		case '(':
			now++
			most = max(most, now)
		case ')':
			now--
		}
	}
	return most
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

// actionParsers are the actions with arguments, by their names: each reads what stands
// behind the name, without a colon.
var actionParsers map[string]func(arg string) (Action, error)

func init() { // not a literal: some contain actions themselves
	actionParsers = map[string]func(arg string) (Action, error){
		"output":           parseOutput,
		"controller":       parseController,
		"CONTROLLER":       parseController,
		"group":            number(32, func(n uint32) ToGroup { return ToGroup{n} }),
		"goto_table":       number(8, func(t TableID) Goto { return Goto{t} }),
		"resubmit":         parseResubmit,
		"set_field":        parseSetField,
		"load":             parseLoad,
		"move":             parseMove,
		"push":             func(s string) (Action, error) { from, err := parseSubfield(s); return Push{from}, err },
		"pop":              func(s string) (Action, error) { to, err := parseSubfield(s); return Pop{to}, err },
		"check_pkt_larger": parseCheckPacketLarger,
		"ct":               parseCT,
		"nat":              parseNATAction,
		"learn":            parseLearn,
		"conjunction":      parseConjunction,
		"clone":            func(s string) (Action, error) { list, err := parseNested(s); return Clone{list}, err },
		"write_actions":    func(s string) (Action, error) { list, err := parseNested(s); return WriteActions{list}, err },
		"write_metadata":   parseWriteMetadata,
		"fin_timeout":      parseFinTimeout,
		"note":             parseNote,
		"raw":              func(s string) (Action, error) { b, err := parseDotted(s); return Raw{b}, err },
		"set_tunnel":       parseSetTunnel,
		"set_tunnel64":     parseSetTunnel,
	}
	for _, name := range []NumberName{PushVLAN, PushMPLS, PopMPLS, SetQueue, SetTTL, UseMeter} {
		actionParsers[string(name)] = number(name.bits(), func(n uint32) Number { return Number{name, n} })
	}
}

// bits is how wide the argument is.
func (n NumberName) bits() int {
	switch n {
	case SetQueue, UseMeter:
		return 32
	case SetTTL:
		return 8
	}
	return 16
}

func parseSetTunnel(s string) (Action, error) {
	v, err := TunID.parse(s)
	return Set(TunID, v), err
}

func parseAction(s string) (Action, error) {
	if a, ok := parseWord(s); ok {
		return a, nil
	}
	name, arg := s, ""
	if i := strings.IndexAny(s, ":("); i >= 0 {
		name, arg = s[:i], strings.TrimPrefix(s[i:], ":")
	}
	if parse, ok := actionParsers[name]; ok {
		return parse(arg)
	}
	if p, ok := reservedByName[s]; ok {
		return OutputTo{p}, nil
	}
	return nil, fmt.Errorf("unknown action %q", s)
}

// inParentheses is what stands in the parentheses that s consists of.
func inParentheses(s string) (string, error) {
	if len(s) < 2 || s[0] != '(' || s[len(s)-1] != ')' {
		return "", fmt.Errorf("%q is not in parentheses", s)
	}
	return s[1 : len(s)-1], nil
}

// eachArgument calls f with each argument in parentheses: name=value, name:value,
// name(...) with the parentheses, or name alone.
func eachArgument(s string, f func(name, value string) error) error {
	inner, err := inParentheses(s)
	if err != nil || inner == "" {
		return err
	}
	for _, word := range splitActions(inner) {
		name, value := word, ""
		if i := strings.IndexAny(word, "=:("); i >= 0 {
			name, value = word[:i], word[i:]
			if value[0] != '(' {
				value = value[1:]
			}
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

func unknown(word string) error { return fmt.Errorf("unknown word %q", word) }

// parseUint reads a number of so many bits, in decimal or, with 0x, in hexadecimal.
func parseUint[T ~uint8 | ~uint16 | ~uint32 | ~uint64](s string, bits int, to *T) error {
	base := 10
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		s, base = digits, 16
	}
	n, err := strconv.ParseUint(s, base, bits)
	*to = T(n)
	return err
}

// number makes an action of one number.
func number[T ~uint8 | ~uint16 | ~uint32, A Action](bits int, a func(n T) A) func(arg string) (Action, error) {
	return func(arg string) (Action, error) {
		var n T
		err := parseUint(arg, bits, &n)
		return a(n), err
	}
}
