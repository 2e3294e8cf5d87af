package flows

import (
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

// Sort puts flows into their stable order: by table, then priority (highest
// first), then the match's text.
func Sort(list []Flow) {
	type keyed struct {
		match string
		flow  Flow
	}
	all := make([]keyed, len(list))
	for i, f := range list {
		all[i] = keyed{f.Match.String(), f}
	}
	slices.SortFunc(all, func(a, b keyed) int {
		return cmp.Or(
			cmp.Compare(a.flow.Table, b.flow.Table),
			-cmp.Compare(a.flow.Priority, b.flow.Priority),
			strings.Compare(a.match, b.match),
		)
	})
	for i, k := range all {
		list[i] = k.flow
	}
}
