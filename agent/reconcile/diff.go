package reconcile

import (
	"context"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// change is an openflow.Change that is being worked out.
type change struct{ openflow.Change }

// tables are flows and groups, each in their order.
type tables struct {
	flows  []flows.Flow
	groups []flows.Group
	// strange are what package flows cannot express.
	strange       []openflow.Entry
	strangeGroups []uint32
}

func tablesOf(set []*render.Owned) tables {
	r := render.Result{Set: set}
	return tables{flows: r.Flows(), groups: r.Groups()}
}

// dump reads what the switch holds.
func dump(ctx context.Context, sw openflow.Switch) (tables, error) {
	entries, err := sw.Dump(ctx)
	if err != nil {
		return tables{}, err
	}
	groups, err := sw.DumpGroups(ctx)
	if err != nil {
		return tables{}, err
	}
	t := takeGroups(groups)
	t.take(entries)
	return t, nil
}

// take takes the flows of a dump in. What the switch learned by itself is left out.
func (t *tables) take(entries []openflow.Entry) {
	t.flows = make([]flows.Flow, 0, len(entries))
	for _, e := range entries {
		switch {
		case e.Flow.Learned():
		case e.Strange != "":
			t.strange = append(t.strange, e)
		default:
			t.flows = append(t.flows, e.Flow)
		}
	}
	flows.Sort(t.flows)
}

// takeGroups takes the groups of a dump in.
func takeGroups(groups []openflow.GroupEntry) (t tables) {
	for _, e := range groups {
		if e.Strange != "" {
			t.strangeGroups = append(t.strangeGroups, e.Group.ID)
		} else {
			t.groups = append(t.groups, e.Group)
		}
	}
	slices.SortFunc(t.groups, flows.CompareGroups)
	return t
}

// diffTables is what turns have into want.
func diffTables(have, want tables) change {
	var c change
	c.Remove = slices.Clone(have.strange)
	c.flows(have.flows, want.flows)
	c.groups(have.groups, want.groups)
	for _, id := range have.strangeGroups {
		if !slices.ContainsFunc(want.groups, func(g flows.Group) bool { return g.ID == id }) {
			c.RemoveGroups = append(c.RemoveGroups, id)
		} // else PutGroups takes its place
	}
	return c
}

// diffOwners is what turns the installed owners into the desired ones, both in the
// order of owners. Those that are the same are passed over.
func diffOwners(installed, desired []*render.Owned) change {
	var c change
	flows.EachChange(installed, desired, func(have, want *render.Owned) {
		c.flows(have.Flows, want.Flows)
		c.groups(have.Groups, want.Groups)
	})
	c.unmove()
	return c
}

// flows adds what turns the flows have into want.
func (c *change) flows(have, want []flows.Flow) {
	flows.Walk(have, want, flows.Compare, func(h, w *flows.Flow) {
		switch {
		case w == nil:
			c.Remove = append(c.Remove, openflow.Entry{Flow: *h})
		case h == nil || !h.Equal(*w): // an Add takes the place of the flow of its key
			c.Add = append(c.Add, *w)
		}
	})
}

// groups adds what turns the groups have into want.
func (c *change) groups(have, want []flows.Group) {
	flows.Walk(have, want, flows.CompareGroups, func(h, w *flows.Group) {
		switch {
		case w == nil:
			c.RemoveGroups = append(c.RemoveGroups, h.ID)
		case h == nil || !h.Equal(*w):
			c.PutGroups = append(c.PutGroups, *w)
		}
	})
}

// unmove takes back the removal of what goes from one owner to another: the addition
// takes its place. (Of flows the switch would do the same; a group's removal would
// come last, and take the new one out.)
func (c *change) unmove() {
	put := make(map[uint32]bool, len(c.PutGroups))
	for _, g := range c.PutGroups {
		put[g.ID] = true
	}
	c.RemoveGroups = slices.DeleteFunc(c.RemoveGroups, func(id uint32) bool { return put[id] })
}
