package flows

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Action is one instruction of a flow or of a group's bucket: see ovs-actions(7) for
// what each does. The types are this file's and those of move.go, send.go, control.go,
// ct.go and learn.go. Those that hold lists cannot be compared by ==: see EqualActions.
type Action interface {
	// String is the action in ovs-ofctl's syntax.
	String() string
	action()
}

// Raw is an action that this package has no words for, as it is on the wire, in full.
// It means the same to the switch that it came from only.
type Raw struct{ Bytes string }

// DecTTL decrements TTL or hop limit; a packet whose TTL runs out goes no further.
type DecTTL struct{}

// Word is an action without an argument.
type Word string

// The words.
const (
	PopVLAN  Word = "pop_vlan"
	CTClear  Word = "ct_clear"
	Exit     Word = "exit"
	PopQueue Word = "pop_queue"
	// ClearActions empties the set of WriteActions.
	ClearActions Word = "clear_actions"
)

// Number is an action whose argument is a number.
type Number struct {
	Name NumberName
	N    uint32
}

// NumberName is what is done with the number.
type NumberName string

// The actions with a number.
const (
	PushVLAN NumberName = "push_vlan" // its EtherType
	PushMPLS NumberName = "push_mpls"
	PopMPLS  NumberName = "pop_mpls" // the EtherType below
	SetQueue NumberName = "set_queue"
	SetTTL   NumberName = "mod_nw_ttl"
	UseMeter NumberName = "meter"
)

// Note does nothing. Trailing zeros are not part of it: the switch pads it.
type Note struct{ Bytes string }

func (Raw) action()    {}
func (DecTTL) action() {}
func (Word) action()   {}
func (Number) action() {}
func (Note) action()   {}

func (a Raw) String() string  { return "raw:" + hex.EncodeToString([]byte(a.Bytes)) }
func (DecTTL) String() string { return "dec_ttl" }
func (a Word) String() string { return string(a) }

func (a Number) String() string {
	switch a.Name {
	case PushVLAN, PushMPLS, PopMPLS:
		return fmt.Sprintf("%s:0x%04x", a.Name, a.N)
	}
	return string(a.Name) + ":" + strconv.FormatUint(uint64(a.N), 10)
}

// Padded is the note as it is on the wire.
func (a Note) Padded() string {
	const first = 6 // bytes before the second unit of 8
	n := len(a.Bytes)
	pad := first - n
	if n > first {
		pad = -(n - first) & 7
	}
	return a.Bytes + strings.Repeat("\x00", pad)
}

func (a Note) String() string { return "note:" + dotted(a.Padded()) }

// dotted is bytes in ovs-ofctl's form: 01.0a.ff.
func dotted(s string) string {
	parts := make([]string, len(s))
	for i := range len(s) {
		parts[i] = hex.EncodeToString([]byte{s[i]})
	}
	return strings.Join(parts, ".")
}

func parseDotted(s string) (string, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ".", ""))
	return string(b), err
}

// EqualActions tells whether two lists are the same actions.
func EqualActions(a, b []Action) bool { return slices.EqualFunc(a, b, equalAction) }

func equalAction(a, b Action) bool {
	if c, ok := a.(interface{ equal(o Action) bool }); ok {
		return c.equal(b)
	}
	return a == b
}

func actionsText(actions []Action) string {
	if len(actions) == 0 {
		return "drop"
	}
	return listText(actions)
}

func listText(actions []Action) string {
	text := make([]string, len(actions))
	for i, a := range actions {
		text[i] = a.String()
	}
	return strings.Join(text, ",")
}
