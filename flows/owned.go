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

// EachChange calls visit for each owner that two sets do not have alike; one that a set lacks is
// an empty one.
func EachChange(installed, desired []*Owned, visit func(have, want *Owned)) {
	installed, desired = apart(installed, desired)
	var none Owned
	Walk(installed, desired, CompareOwned, func(h, w **Owned) {
		have, want := &none, &none
		if h != nil {
			have = *h
		}
		if w != nil {
			want = *w
		}
		if have != want {
			visit(have, want)
		}
	})
}

// apart leaves out the owners at both ends that are the same: mostly one or two of tens of
// thousands differ, and walking along all of them took half of the time.
func apart(a, b []*Owned) (x, y []*Owned) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return a, b
}

// SameSlice tells whether two slices are one; those that are not may be alike nevertheless.
func SameSlice[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }
