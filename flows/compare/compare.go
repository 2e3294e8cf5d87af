// Package compare says what turns one render of a node into another: as flows, as lines
// of the host's side, and in words by owner. Like the render itself it is pure; where the
// two renders come from (a running node, a directory, another) is the caller's.
//
// Start at Sides; text.go writes what it returns.
package compare

import (
	"cmp"
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
		Groups:    lines(texts(from.Tables.Groups), texts(to.Tables.Groups)),
		Host:      lines(hostLines(from.Host), hostLines(to.Host)),
		Conflicts: lines(texts(from.Tables.Conflicts), texts(to.Tables.Conflicts)),
	}
}

func owners(from, to render.Result) []Owner {
	b := book{owners: map[flows.Owner]*Owner{}}
	old := make(map[flows.Key]flows.Flow, len(from.Flows))
	for _, f := range from.Flows {
		old[f.Key()] = f
	}
	kept := make(map[flows.Key]bool, len(to.Flows))
	for _, f := range to.Flows {
		was, ok := old[f.Key()]
		switch owner := to.Owners[f.Cookie.Owner()]; {
		case !ok:
			o := b.of(owner)
			o.Added = append(o.Added, f)
			continue
		case was.Equal(f):
		case was.Cookie.Owner() == f.Cookie.Owner():
			o := b.of(owner)
			o.Changed = append(o.Changed, Change{was, f})
		default: // another owner's from now on
			o := b.of(owner)
			o.Added = append(o.Added, f)
			continue
		}
		kept[f.Key()] = true
	}
	for _, f := range from.Flows {
		if !kept[f.Key()] {
			o := b.of(from.Owners[f.Cookie.Owner()])
			o.Removed = append(o.Removed, f)
		}
	}
	before, after := owning(from), owning(to)
	out := make([]Owner, 0, len(b.owners))
	for _, o := range b.owners {
		if before[o.Owner] && after[o.Owner] {
			o.Facts = facts(*o)
		}
		out = append(out, *o)
	}
	slices.SortFunc(out, func(a, b Owner) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return out
}

// book gathers differences by owner.
type book struct{ owners map[flows.Owner]*Owner }

func (b book) of(o flows.Owner) *Owner {
	if b.owners[o] == nil {
		b.owners[o] = &Owner{Owner: o}
	}
	return b.owners[o]
}

// owning are the owners that have flows.
func owning(r render.Result) map[flows.Owner]bool {
	out := map[flows.Owner]bool{}
	for _, f := range r.Flows {
		out[r.Owners[f.Cookie.Owner()]] = true
	}
	return out
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
