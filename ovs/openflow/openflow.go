package openflow

import (
	"context"

	"github.com/sluice-cni/sluice/flows"
)

// Switch is one bridge's tables. Its methods may be called by several goroutines;
// changes are applied in the order of the calls.
type Switch interface {
	// Dump reads all flows that the switch holds, in no order. What other people
	// put there in words that package flows does not know comes as Strange.
	Dump(ctx context.Context) ([]Entry, error)
	// DumpCookies is Dump of those flows alone whose cookies are the same as cookie in
	// the bits of mask.
	DumpCookies(ctx context.Context, cookie, mask flows.Cookie) ([]Entry, error)
	// DumpGroups reads all groups that the switch holds, in no order.
	DumpGroups(ctx context.Context) ([]GroupEntry, error)
	// DumpGroupsOf is DumpGroups of those groups alone, of which some may not be there.
	DumpGroupsOf(ctx context.Context, ids []uint32) ([]GroupEntry, error)
	// GroupStats reads the counters of all groups, in no order; those of a group's buckets
	// are in the order in which DumpGroups tells them.
	GroupStats(ctx context.Context) ([]GroupStats, error)
	// Apply makes all changes of flows and groups in c as one atomic bundle: no
	// packet meets half of it. On an error none of them has changed. Meters are not
	// part of the bundle: see Change.
	Apply(ctx context.Context, c Change) error
	// Watch tells of all changes to the flows from its return on, until the connection
	// is lost; it can be called once. See Conn.Watch.
	Watch(ctx context.Context) (<-chan FlowEvent, error)
	// Lost is closed once the switch can no longer be reached by this Switch: it
	// has been restarted, or the bridge has gone. A new one must be dialled, and
	// what was installed must be presumed gone.
	Lost() <-chan struct{}
	// Close ends it. Lost is closed, too.
	Close() error
}

// Entry is a flow that the switch holds, with its counters.
type Entry struct {
	Flow  flows.Flow
	Stats flows.Stats
	// Strange is set for a flow whose match package flows cannot express: its text or
	// another form that is enough to remove it. Of Flow, only Table, Priority and
	// Cookie are set then.
	Strange string
}

// Change is a set of changes to the switch. They are made in the order PutMeters,
// PutGroups, RemoveBuckets, InsertBuckets, Remove, Add, RemoveGroups, RemoveMeters, so that no flow that stays
// ever names a meter or group that is not there.
//
// Open vSwitch takes no meters into a bundle. They are put before it, and taken out
// once it has been made: a change that fails may have left meters in that no flow
// names yet, and others with their new limits.
type Change struct {
	// Add puts flows in, in place of those with the same key.
	Add []flows.Flow
	// Remove takes flows out, by their keys (or as Strange); one that is not there
	// is no error. Removals come before additions.
	Remove []Entry
	// PutGroups puts groups in, in place of those with the same number.
	PutGroups []flows.Group
	// RemoveBuckets takes single buckets out of groups; one that is not there is an error.
	RemoveBuckets []BucketID
	// InsertBuckets puts the Buckets of each behind those of the group with its number
	// and type, and leaves what else it is. Connections keep their buckets, unless the
	// group's selection method spreads them anew.
	InsertBuckets []flows.Group
	// PutMeters puts meters in, in place of those with the same number: their flows
	// stay, and their counters begin anew.
	PutMeters []flows.Meter
	// RemoveMeters takes meters out by their numbers, and with each of them the
	// flows that still name it; one that is not there is no error.
	RemoveMeters []uint32
	// RemoveGroups takes groups out by their numbers, and with each of them the
	// flows that still name it; one that is not there is no error.
	RemoveGroups []uint32
}

// BucketID names a bucket of a group.
type BucketID struct{ Group, Bucket uint32 }

// Empty tells whether there is nothing to do.
func (c Change) Empty() bool { return c.Size()+len(c.PutMeters)+len(c.RemoveMeters) == 0 }

// Size is the number of messages that the bundle has, meters not being in it.
func (c Change) Size() int {
	return len(c.PutGroups) + len(c.RemoveBuckets) + len(c.InsertBuckets) + len(c.Remove) + len(c.Add) + len(c.RemoveGroups)
}
