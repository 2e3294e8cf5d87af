// Package compare says what turns one render of a node into another: as flows, as lines
// of the host's side, and in words by owner. Like the render itself it is pure; where the
// two renders come from (a running node, a directory, another) is the caller's.
//
// Start at Sides; text.go writes what it returns.
package compare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
)

// Side is one render of a node. The zero Side is that of a node that there is not: no
// flow, nothing on the host.
type Side struct {
	Tables render.Result
	Host   render.Host
}

// Render is the side of a state.
func Render(s state.State) Side {
	return Side{Tables: render.Tables(s), Host: render.HostSide(s)}
}

// Difference is what turns one side into the other.
type Difference struct {
	// Owners are those of whose flows any differ: by kind, then by name.
	Owners []Owner
	// Groups and Host are lines: ovs-ofctl's, and those of render.Host. Conflicts are the
	// claims that are not served, in words.
	Groups, Host, Conflicts Lines
}

// Owner is what differs of one owner's flows, each list in the order of flows.Sort.
type Owner struct {
	flows.Owner
	Removed, Added []flows.Flow
	// Changed flows keep table, priority and match.
	Changed []Change
	// Facts say in words what the flows are about changes: "route changes from … to …".
	// There are none of an owner that is on one side only.
	Facts []string
}

// Change is a flow that takes the place of another.
type Change struct{ From, To flows.Flow }

// Lines are what is on one side only, in the order of that side.
type Lines struct {
	Removed []string `json:"removed"`
	Added   []string `json:"added"`
}

// Empty tells whether the sides are alike.
func (d Difference) Empty() bool {
	return len(d.Owners) == 0 && d.Groups.empty() && d.Host.empty() && d.Conflicts.empty()
}

func (l Lines) empty() bool { return len(l.Removed) == 0 && len(l.Added) == 0 }

// Sides compares two renders of one node.
func Sides(from, to Side) Difference {
	return Difference{
		Owners:    owners(from.Tables, to.Tables),
		Groups:    lines(texts(from.Tables.Groups()), texts(to.Tables.Groups())),
		Host:      lines(hostLines(from.Host), hostLines(to.Host)),
		Conflicts: lines(texts(from.Tables.Conflicts), texts(to.Tables.Conflicts)),
	}
}

func owners(from, to render.Result) []Owner {
	var out []Owner
	flows.Walk(from.Set, to.Set, flows.CompareOwned, func(was, is **render.Owned) {
		var o Owner
		var before, after []flows.Flow
		if was != nil {
			o.Owner, before = (*was).Owner, (*was).Flows
		}
		if is != nil {
			o.Owner, after = (*is).Owner, (*is).Flows
		}
		o.compare(before, after)
		if len(o.Removed)+len(o.Added)+len(o.Changed) == 0 {
			return
		}
		if len(before) > 0 && len(after) > 0 {
			o.Facts = facts(o)
		}
		out = append(out, o)
	})
	return out
}

// compare fills in what differs.
func (o *Owner) compare(before, after []flows.Flow) {
	flows.Walk(before, after, flows.Compare, func(was, is *flows.Flow) {
		switch {
		case is == nil:
			o.Removed = append(o.Removed, *was)
		case was == nil:
			o.Added = append(o.Added, *is)
		case !was.Equal(*is):
			o.Changed = append(o.Changed, Change{*was, *is})
		}
	})
}

func texts[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = x.String()
	}
	return out
}

func hostLines(h render.Host) []string {
	return slices.Collect(strings.Lines(h.String()))
}

// lines compares two sets of lines.
func lines(from, to []string) Lines {
	return Lines{Removed: without(from, to), Added: without(to, from)}
}

// without are the lines that are not among the others, and without their ends.
func without(list, others []string) []string {
	has := make(map[string]bool, len(others))
	for _, l := range others {
		has[l] = true
	}
	var out []string
	for _, l := range list {
		if !has[l] {
			out = append(out, strings.TrimSuffix(l, "\n"))
		}
	}
	return out
}
