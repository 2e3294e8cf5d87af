package flows

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Flow is an OpenFlow flow. Table, Priority and Match are its key: a switch
// holds one flow of a key, a second one takes its place.
type Flow struct {
	Table    TableID
	Priority uint16
	// Cookie says whose flow it is: see Cookie.
	Cookie Cookie
	Match  Match
	// Actions are done in order; none means drop.
	Actions []Action
}

// Key is a flow's identity in the switch, comparable.
type Key struct {
	Table    TableID
	Priority uint16
	Match    string
}

// Key is what makes this flow another than its neighbours.
func (f Flow) Key() Key { return Key{f.Table, f.Priority, f.Match.String()} }

// Equal tells whether two flows are the same in everything.
func (f Flow) Equal(o Flow) bool {
	return f.Table == o.Table && f.Priority == o.Priority && f.Cookie == o.Cookie &&
		f.Match.Equal(o.Match) && slices.Equal(f.Actions, o.Actions)
}

// String is the flow as a line that `ovs-ofctl add-flow` takes. An explicit
// priority and table always stand in it.
func (f Flow) String() string {
	var b strings.Builder
	if f.Cookie != 0 {
		b.WriteString("cookie=" + f.Cookie.String() + ", ")
	}
	b.WriteString("table=" + strconv.Itoa(int(f.Table)) + ", ")
	b.WriteString("priority=" + strconv.Itoa(int(f.Priority)))
	if m := f.Match.String(); m != "" {
		b.WriteString("," + m)
	}
	b.WriteString(" actions=" + actionsText(f.Actions))
	return b.String()
}

func actionsText(actions []Action) string {
	if len(actions) == 0 {
		return "drop"
	}
	text := make([]string, len(actions))
	for i, a := range actions {
		text[i] = a.String()
	}
	return strings.Join(text, ",")
}

// Compare is the stable order of flows: by table, then priority (highest first), then
// the match, field by field. It is 0 for flows of one key only.
func Compare(a, b Flow) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), -cmp.Compare(a.Priority, b.Priority), slices.CompareFunc(a.Match, b.Match, compareTerms))
}

func compareTerms(a, b Term) int {
	if a.Field != b.Field {
		return cmp.Compare(a.Field, b.Field)
	}
	if c := bytes.Compare(a.Value[:], b.Value[:]); c != 0 {
		return c
	}
	return bytes.Compare(a.Mask[:], b.Mask[:])
}

// Sort puts flows into the order of Compare.
func Sort(list []Flow) { slices.SortFunc(list, Compare) }
