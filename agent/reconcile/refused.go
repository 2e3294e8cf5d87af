package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// RefusedError is an owner of which the switch does not take something. All of the owner
// stays as it was before: half of what it needs could let through what the other half
// would drop.
type RefusedError struct {
	Owner flows.Owner
	// Err names the first flow or group that was refused, and the switch's reason.
	Err error
}

func (r RefusedError) Error() string {
	return fmt.Sprintf("%s stays as it was: %v", r.Owner, r.Err)
}

// Refused are the owners that are put aside, in their order. Each is tried again when
// something else is desired of it, and on another connection; and where the reason may
// pass (a full table) at every look.
func (r *Reconciler) Refused() []RefusedError {
	var out []RefusedError
	for _, refusal := range r.refused {
		out = append(out, refusal)
	}
	slices.SortFunc(out, func(a, b RefusedError) int { return flows.CompareOwners(a.Owner, b.Owner) })
	return out
}

// settleRefused forgets the refusals that are to be tried again or that are no longer desired.
func (r *Reconciler) settleRefused(desired []*render.Owned, look bool) {
	if len(r.refused) == 0 {
		return
	}
	still := make(map[*render.Owned]RefusedError, len(r.refused))
	for _, o := range desired {
		if refusal, ok := r.refused[o]; ok && (!look || !mayPass(refusal.Err)) {
			still[o] = refusal
		}
	}
	r.refused = still
}

// mayPass tells whether what was refused could be taken later, as it is.
func mayPass(err error) bool {
	e, ok := errors.AsType[*openflow.Error](err)
	if !ok {
		return false
	}
	switch e.Name() {
	case "OFPFMFC_TABLE_FULL", "OFPGMFC_OUT_OF_GROUPS", "OFPGMFC_OUT_OF_BUCKETS", "OFPMMFC_OUT_OF_METERS":
		return true
	}
	return false
}

// put applies the change, without what belongs to owners that are put aside, which may
// become more. Found are the flows that the switch held, if it was asked; r.installed
// else.
func (r *Reconciler) put(ctx context.Context, c change, found []flows.Flow, desired []*render.Owned) error {
	for {
		part := c
		if len(r.refused) > 0 {
			part = c.without(r.aside(), found, r.installed)
		}
		if part.Empty() {
			return nil
		}
		err := r.sw.Apply(ctx, part.Change)
		if err == nil {
			r.log.Debug("switch changed", "added", len(part.Add), "removed", len(part.Remove), "groups", len(part.PutGroups))
			return nil
		}
		if !r.refuse(err, desired) {
			return fmt.Errorf("add %d flows, remove %d: %w", len(part.Add), len(part.Remove), err)
		}
	}
}

// refuse puts the owners aside that the error names. It tells whether it could.
func (r *Reconciler) refuse(err error, desired []*render.Owned) bool {
	refused, ok := errors.AsType[*openflow.ChangeError](err)
	if !ok {
		return false
	}
	before := len(r.refused)
	owners, groups := map[flows.Cookie]*render.Owned{}, map[uint32]*render.Owned{}
	for _, o := range desired {
		owners[o.Owner.Cookie(0)] = o
		for _, g := range o.Groups {
			groups[g.ID] = o
		}
	}
	for _, one := range refused.Errs {
		var owner *render.Owned
		if e, ok := errors.AsType[*openflow.FlowError](one); ok && e.Strange == "" {
			owner = owners[e.Flow.Cookie.Owner()]
		} else if e, ok := errors.AsType[*openflow.GroupError](one); ok {
			owner = groups[e.Group.ID]
		}
		if owner == nil {
			return false
		}
		if _, known := r.refused[owner]; !known {
			r.refused[owner] = RefusedError{owner.Owner, one}
			r.log.Error("the switch refuses what an owner needs; all else is applied", "owner", owner.Owner.String(), "error", one)
		}
	}
	return len(r.refused) > before
}

// aside are the refused owners by their cookies, and the groups that they want.
func (r *Reconciler) aside() (a aside) {
	a.owners, a.groups = map[flows.Cookie]bool{}, map[uint32]bool{}
	for o := range r.refused {
		a.owners[o.Owner.Cookie(0)] = true
		for _, g := range o.Groups {
			a.groups[g.ID] = true
		}
	}
	return a
}

type aside struct {
	owners map[flows.Cookie]bool
	groups map[uint32]bool
}

// without leaves out what would change owners that are put aside: their flows, and
// groups that these still name.
func (c change) without(a aside, found []flows.Flow, installed []*render.Owned) change {
	for _, o := range installed {
		if a.owners[o.Owner.Cookie(0)] {
			found = slices.Concat(found, o.Flows)
		}
	}
	named := map[uint32]bool{}
	for _, f := range found {
		if !a.owners[f.Cookie.Owner()] {
			continue
		}
		for _, action := range f.Actions {
			if to, ok := action.(flows.ToGroup); ok {
				named[to.Group] = true
			}
		}
	}
	var out change
	for _, f := range c.Add {
		if !a.owners[f.Cookie.Owner()] {
			out.Add = append(out.Add, f)
		}
	}
	for _, e := range c.Remove {
		if e.Strange != "" || !a.owners[e.Flow.Cookie.Owner()] {
			out.Remove = append(out.Remove, e)
		}
	}
	for _, g := range c.PutGroups {
		if !a.groups[g.ID] {
			out.PutGroups = append(out.PutGroups, g)
		}
	}
	for _, id := range c.RemoveGroups {
		if !named[id] {
			out.RemoveGroups = append(out.RemoveGroups, id)
		}
	}
	return out
}

// withoutRefused are the desired owners that are not put aside.
func (r *Reconciler) withoutRefused(desired []*render.Owned) []*render.Owned {
	if len(r.refused) == 0 {
		return desired
	}
	return slices.DeleteFunc(slices.Clone(desired), func(o *render.Owned) bool {
		_, aside := r.refused[o]
		return aside
	})
}
