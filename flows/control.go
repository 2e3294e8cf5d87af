package flows

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Goto goes on in a later table and does not come back (OpenFlow's goto_table
// instruction: the last of a flow).
type Goto struct{ Table TableID }

// SameTable is Resubmit's Table for the one that the flow is in.
const SameTable TableID = 255

// Resubmit looks the packet up in another table, then goes on behind this action:
// the call of a subroutine.
type Resubmit struct {
	// Port is taken for the port that the packet came by, in this look-up; 0 leaves it.
	Port  uint32
	Table TableID
	// CT looks up with conntrack's original tuple in place of the packet's own.
	CT bool
}

// Conjunction is clause Clause (counted from 1) of Clauses of the conjunction ID. It
// is one flow's only kind of action.
type Conjunction struct {
	ID              uint32
	Clause, Clauses uint8
}

// Clone does actions on a copy of the packet and of its fields.
type Clone struct{ Actions []Action }

// FinTimeout shortens the flow's time-outs, in seconds, once a TCP connection ends.
type FinTimeout struct{ Idle, Hard uint16 }

// WriteMetadata writes bits of Metadata: an instruction of OpenFlow, which goes behind
// all actions but Goto.
type WriteMetadata struct{ Value, Mask uint64 }

// WriteActions adds to the set of actions that is done where the pipeline ends: an
// instruction of OpenFlow, which goes behind all actions but WriteMetadata and Goto.
type WriteActions struct{ Actions []Action }

func (Goto) action()          {}
func (Resubmit) action()      {}
func (Conjunction) action()   {}
func (Clone) action()         {}
func (FinTimeout) action()    {}
func (WriteMetadata) action() {}
func (WriteActions) action()  {}

func (a Goto) String() string { return "goto_table:" + strconv.Itoa(int(a.Table)) }

func (a Resubmit) String() string {
	port := ""
	if a.Port != 0 {
		port = portText(a.Port)
	}
	if a.Port != 0 && a.Table == SameTable && !a.CT {
		return "resubmit:" + port
	}
	table, ct := "", ""
	if a.Table != SameTable {
		table = strconv.Itoa(int(a.Table))
	}
	if a.CT {
		ct = ",ct"
	}
	return "resubmit(" + port + "," + table + ct + ")"
}

func (a Conjunction) String() string {
	return fmt.Sprintf("conjunction(%d,%d/%d)", a.ID, a.Clause, a.Clauses)
}

func (a Clone) String() string { return "clone(" + actionsText(a.Actions) + ")" }

func (a FinTimeout) String() string {
	var out []string
	if a.Idle != 0 {
		out = append(out, "idle_timeout="+strconv.Itoa(int(a.Idle)))
	}
	if a.Hard != 0 {
		out = append(out, "hard_timeout="+strconv.Itoa(int(a.Hard)))
	}
	return "fin_timeout(" + strings.Join(out, ",") + ")"
}

func (a WriteMetadata) String() string {
	text := "write_metadata:" + hexText(Uint(a.Value))
	if a.Mask != ^uint64(0) {
		text += "/" + hexText(Uint(a.Mask))
	}
	return text
}

func (a WriteActions) String() string { return "write_actions(" + actionsText(a.Actions) + ")" }

func (a Clone) equal(o Action) bool {
	b, ok := o.(Clone)
	return ok && EqualActions(a.Actions, b.Actions)
}

func (a WriteActions) equal(o Action) bool {
	b, ok := o.(WriteActions)
	return ok && EqualActions(a.Actions, b.Actions)
}

func parseResubmit(s string) (Action, error) {
	a := Resubmit{Table: SameTable}
	if !strings.HasPrefix(s, "(") {
		p, err := parsePort(s)
		a.Port = resubmitPort(p)
		return a, err
	}
	inner, err := inParentheses(s)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(inner, ",")
	if len(parts) < 2 || len(parts) > 3 || len(parts) == 3 && parts[2] != "ct" {
		return nil, fmt.Errorf("resubmit%s: not (port,table) or (port,table,ct)", s)
	}
	a.CT = len(parts) == 3
	if parts[0] != "" {
		p, err := parsePort(parts[0])
		if err != nil {
			return nil, err
		}
		a.Port = resubmitPort(p)
	}
	if parts[1] != "" {
		err = parseUint(parts[1], 8, &a.Table)
	}
	return a, err
}

func resubmitPort(p uint32) uint32 {
	if p == PortInPort {
		return 0
	}
	return p
}

func parseConjunction(s string) (Action, error) {
	inner, err := inParentheses(s)
	if err != nil {
		return nil, err
	}
	words := strings.FieldsFunc(inner, func(r rune) bool { return r == ',' || r == '/' })
	if len(words) != 3 {
		return nil, fmt.Errorf("conjunction(%s): not (id,k/n)", inner)
	}
	var a Conjunction
	err = cmp.Or(parseUint(words[0], 32, &a.ID), parseUint(words[1], 8, &a.Clause), parseUint(words[2], 8, &a.Clauses))
	if err == nil && (a.Clause < 1 || a.Clause > a.Clauses) {
		err = fmt.Errorf("conjunction(%s): no such clause", inner)
	}
	return a, err
}

// parseNested reads actions in parentheses.
func parseNested(s string) ([]Action, error) {
	inner, err := inParentheses(s)
	if err != nil {
		return nil, err
	}
	return parseActions(inner)
}

func parseFinTimeout(s string) (Action, error) {
	var a FinTimeout
	err := eachArgument(s, func(name, value string) error {
		switch name {
		case "idle_timeout":
			return parseUint(value, 16, &a.Idle)
		case "hard_timeout":
			return parseUint(value, 16, &a.Hard)
		}
		return unknown(name)
	})
	return a, err
}

func parseWriteMetadata(s string) (Action, error) {
	v, m, err := Metadata.parseMasked(s)
	return WriteMetadata{v.Uint64(), m.Uint64()}, err
}

func parseNote(s string) (Action, error) {
	text, err := parseDotted(s)
	return Note{strings.TrimRight(text, "\x00")}, err
}

// wordActions are those without an argument.
var wordActions = []Word{PopVLAN, CTClear, Exit, PopQueue, ClearActions}

func parseWord(s string) (Action, bool) {
	switch {
	case s == "strip_vlan":
		return PopVLAN, true
	case s == "dec_ttl":
		return DecTTL{}, true
	case slices.Contains(wordActions, Word(s)):
		return Word(s), true
	}
	return nil, false
}
