// Package openflow programs a bridge's flow tables.
//
// Switch is all that the agent needs of it; Dial (native OpenFlow 1.5 on the
// bridge's management socket) makes one. Text in ovs-ofctl's syntax is for people
// and tests; both come from the same typed flows.Flow.
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
	// Apply makes all changes of c as one atomic bundle: no packet meets half of
	// it. On an error nothing has changed.
	Apply(ctx context.Context, c Change) error
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
	// Strange is set for a flow that package flows cannot express: its text or
	// another form that is enough to remove it. Of Flow, only Table, Priority and
	// Cookie are set then.
	Strange string
}

// Change is a set of changes to the flow tables.
type Change struct {
	// Add puts flows in, in place of those with the same key.
	Add []flows.Flow
	// Remove takes flows out, by their keys (or as Strange); one that is not there
	// is no error. Removals come before additions.
	Remove []Entry
}

// Empty tells whether there is nothing to do.
func (c Change) Empty() bool { return len(c.Add) == 0 && len(c.Remove) == 0 }
