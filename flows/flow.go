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
	Flags    Flags
	Priority uint16
	// IdleTimeout and HardTimeout are after how many seconds without a packet, or at
	// all, the switch takes the flow out; 0 never.
	IdleTimeout, HardTimeout uint16
	// Importance counts where a full table makes room; Open vSwitch's never does.
	Importance uint16
	// Cookie says whose flow it is: see Cookie.
	Cookie Cookie
	Match  Match
	// Actions are done in order; none means drop.
	Actions []Action
}

// Flags of a flow (OpenFlow 1.5, enum ofp_flow_mod_flags).
type Flags uint8

// The flags. CheckOverlap and ResetCounts say how a flow is put in: no switch tells
// them of a flow that it holds.
const (
	SendFlowRemoved Flags = 1 << iota
	CheckOverlap
	ResetCounts
	NoPacketCounts
	NoByteCounts

	// StateFlags are those that a switch keeps with the flow.
	StateFlags = SendFlowRemoved | NoPacketCounts | NoByteCounts
)

var flagWords = []string{"send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"}

// Key is a flow's identity in the switch, comparable.
type Key struct {
	Table    TableID
	Priority uint16
	Match    string
}

// Key is what makes this flow another than its neighbours.
func (f Flow) Key() Key { return Key{f.Table, f.Priority, f.Match.String()} }

// Equal tells whether two flows are the same in everything that a switch keeps.
func (f Flow) Equal(o Flow) bool {
	return f.Table == o.Table && f.Priority == o.Priority && f.Cookie == o.Cookie &&
		f.IdleTimeout == o.IdleTimeout && f.HardTimeout == o.HardTimeout && f.Importance == o.Importance &&
		f.Flags&StateFlags == o.Flags&StateFlags && f.Match.Equal(o.Match) && EqualActions(f.Actions, o.Actions)
}

// String is the flow as a line that `ovs-ofctl add-flow` takes. An explicit
// priority and table always stand in it.
func (f Flow) String() string {
	var b strings.Builder
	if f.Cookie != 0 {
		b.WriteString("cookie=" + f.Cookie.String() + ", ")
	}
	b.WriteString("table=" + strconv.Itoa(int(f.Table)) + ", ")
	for _, n := range []struct {
		name  string
		value uint16
	}{{"idle_timeout", f.IdleTimeout}, {"hard_timeout", f.HardTimeout}} {
		if n.value != 0 {
			b.WriteString(n.name + "=" + strconv.Itoa(int(n.value)) + ", ")
		}
	}
	for i, word := range flagWords {
		if f.Flags>>i&1 != 0 {
			b.WriteString(word + " ")
		}
	}
	if f.Importance != 0 {
		b.WriteString("importance=" + strconv.Itoa(int(f.Importance)) + ", ")
	}
	b.WriteString("priority=" + strconv.Itoa(int(f.Priority)))
	if m := f.Match.String(); m != "" {
		b.WriteString("," + m)
	}
	b.WriteString(" actions=" + actionsText(f.Actions))
	return b.String()
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
