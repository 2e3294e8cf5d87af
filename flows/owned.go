package flows

import "slices"

// Owned is what one owner needs of the switch. No two owners have flows of one key, or
// groups of one number.
type Owned struct {
	Owner Owner
	// Flows are in the order of Compare.
	Flows []Flow
	// Groups are in the order of their numbers.
	Groups []Group
}

// Alike tells whether two make the same tables.
func (o *Owned) Alike(other *Owned) bool {
	return slices.EqualFunc(o.Flows, other.Flows, Flow.Equal) && slices.EqualFunc(o.Groups, other.Groups, Group.Equal)
}

// CompareOwned is the order of their owners.
func CompareOwned(a, b *Owned) int {
	if a == b {
		return 0
	}
	return CompareOwners(a.Owner, b.Owner)
}
