// Package reconcile makes a switch hold what was rendered, and nothing else: it
// compares, owner by owner, and applies the difference as one bundle.
//
// What the switch refuses is put aside with its owner (see RefusedError), and the rest of
// the bundle is applied: one bad owner keeps nobody else waiting.
package reconcile

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// Dial opens the switch.
type Dial func(ctx context.Context) (openflow.Switch, error)

// Reconciler keeps one bridge's tables. It is not safe for concurrent use.
type Reconciler struct {
	dial Dial
	log  *slog.Logger
	// Before, if it is set, is called before the switch is changed: what there may be in it of
	// what changes, and what there will be in its stead. Its error leaves the switch as it is.
	Before func(ctx context.Context, was, now []*render.Owned) error

	sw openflow.Switch
	// installed is what the switch holds as far as is known, in the order of
	// owners. When nothing is known the next pass must look.
	installed []*render.Owned
	known     bool
	// last is what was installed before nothing was known any more: connections may go by it yet.
	last []*render.Owned
	// refused are the owners that are put aside, by what was desired of them.
	refused map[*render.Owned]RefusedError
	// repaired counts flows and groups found to be other than this Reconciler left them.
	repaired uint64
	// part is the one of Parts that is looked at next.
	part int
	// groupLooks counts looks at the groups.
	groupLooks int
	// connection counts the switches that were opened.
	connection uint64
	drifted    chan struct{}
}

// Look says how closely to look at the switch.
type Look int

// The ways to look.
const (
	// Trust takes what was left there to be there.
	Trust Look = iota
	// LookAtGroups dumps the groups, of whose changes the switch does not tell; of manyGroups and more, one of
	// Parts after the other.
	LookAtGroups
	// LookAtPart dumps one of Parts of the flows besides, another each time.
	LookAtPart
	// LookAtAll dumps everything.
	LookAtAll
)

// Parts is how many a look at the flows is divided into: all at once, where there are many, would keep a
// change waiting.
const Parts = 16

// Of manyGroups a look takes those of a part; somebody else's are found by looking at all, every so many looks.
const (
	manyGroups = 256
	wholeEvery = 8 * Parts
)

// New makes a Reconciler that opens its switch when first needed, and again when
// it was lost.
func New(dial Dial, log *slog.Logger) *Reconciler {
	return &Reconciler{dial: dial, log: log, refused: map[*render.Owned]RefusedError{}, drifted: make(chan struct{}, 1)}
}

// Drifted gets a value when somebody else has changed the switch's flows: it is time to
// LookAtAll.
func (r *Reconciler) Drifted() <-chan struct{} { return r.drifted }

// Lost is closed when the switch has gone; nil (never) while none is open.
func (r *Reconciler) Lost() <-chan struct{} {
	if r.sw == nil {
		return nil
	}
	return r.sw.Lost()
}

// Repaired counts the flows and groups put right behind others.
func (r *Reconciler) Repaired() uint64 { return r.repaired }

// Installed is the number of flows that the switch holds.
func (r *Reconciler) Installed() int {
	return render.Result{Set: r.installed}.Len()
}

// Connection counts how often the switch was opened: another number means that it
// may have been restarted in between.
func (r *Reconciler) Connection() uint64 { return r.connection }

// Connected tells whether the switch answered when last asked.
func (r *Reconciler) Connected() bool { return r.sw != nil }

// Apply makes the switch hold exactly the desired flows and groups, a render.Result's
// Set. It looks at the switch first as it is told to, and at everything if nothing is
// known of it. An owner whose *Owned is the one of last time costs a comparison of two
// pointers. On an error nothing is presumed, and the next call looks at everything.
// Owners that the switch refused are no error: see Refused.
func (r *Reconciler) Apply(ctx context.Context, desired []*render.Owned, look Look) error {
	if err := r.apply(ctx, desired, look); err != nil {
		r.forget()
		r.disconnectIfLost()
		return err
	}
	return nil
}

func (r *Reconciler) apply(ctx context.Context, desired []*render.Owned, look Look) error {
	r.disconnectIfLost()
	if r.sw == nil {
		if err := r.open(ctx); err != nil {
			return err
		}
	}
	if look != Trust && look != LookAtAll && r.known {
		other, err := r.isOther(ctx, look == LookAtPart)
		if err != nil {
			return err
		}
		if other {
			look = LookAtAll
		}
	}
	all := look == LookAtAll || !r.known
	r.settleRefused(desired, all)
	var c change
	var found tables
	if all {
		var err error
		if found, err = dump(ctx, r.sw); err != nil {
			return err
		}
		c = diffTables(found, tablesOf(desired))
		r.drift(found, desired, c)
	} else {
		c = diffOwners(r.installed, desired)
	}
	if err := r.announce(ctx, c, found, desired); err != nil {
		return err
	}
	if err := r.put(ctx, c, found.flows, desired); err != nil {
		return err
	}
	// What is left of owners that are put aside only another look can tell.
	r.installed, r.known = r.withoutRefused(desired), len(r.refused) == 0
	r.last = r.installed
	return nil
}

// announce calls Before if there is something to change.
func (r *Reconciler) announce(ctx context.Context, c change, found tables, desired []*render.Owned) error {
	if r.Before == nil || c.Empty() {
		return nil
	}
	var was, now []*render.Owned
	flows.EachChange(r.last, desired, func(have, want *render.Owned) { was, now = append(was, have), append(now, want) })
	if len(found.flows) > 0 {
		was, now = append(was, &render.Owned{Flows: found.flows, Groups: found.groups}), desired
	}
	return r.Before(ctx, was, now)
}

// open dials a switch and passes on what others do to its flows. One that cannot be
// watched is let go: drift in it would not be noticed.
func (r *Reconciler) open(ctx context.Context) error {
	sw, err := r.dial(ctx)
	if err != nil {
		return err
	}
	events, err := sw.Watch(ctx)
	if err != nil {
		_ = sw.Close()
		return err
	}
	go r.follow(events)
	r.sw = sw
	r.forget()
	r.connection++
	clear(r.refused) // another switch may be another version
	return nil
}

// follow tells of others' changes until the connection ends. What the switch learns, and
// forgets, it does itself.
func (r *Reconciler) follow(events <-chan openflow.FlowEvent) {
	for e := range events {
		if e.Kind == openflow.FlowsOwn || e.Flow.Learned() {
			continue
		}
		select {
		case r.drifted <- struct{}{}:
		default:
		}
	}
}

// isOther tells whether the switch has other groups than it was left with, or other flows in the part whose turn
// it is.
func (r *Reconciler) isOther(ctx context.Context, part bool) (bool, error) {
	have, want, err := r.lookAtGroups(ctx)
	if err != nil {
		return false, err
	}
	if part {
		if err := r.takePart(ctx, &have, &want); err != nil {
			return false, err
		}
	}
	return diffTables(have, want).Size() > 0, nil
}

// partOf is a part as cookies have it: the lowest bits of the owner's number, which is a hash of its name, so that
// all parts are alike.
func partOf(i int) (cookie, mask flows.Cookie) {
	const shift = 16
	return flows.Cookie(i%Parts) << shift, flows.Cookie(Parts-1) << shift
}

// installedIn are the owners of a part.
func (r *Reconciler) installedIn(part int) iter.Seq[*render.Owned] {
	cookie, mask := partOf(part)
	return func(yield func(*render.Owned) bool) {
		for _, o := range r.installed {
			if len(o.Flows) > 0 && o.Flows[0].Cookie&mask == cookie && !yield(o) {
				return
			}
		}
	}
}

// lookAtGroups reads groups: all, or those of the part whose turn it is.
func (r *Reconciler) lookAtGroups(ctx context.Context) (have, want tables, err error) {
	look := r.groupLooks
	r.groupLooks++
	want.groups = render.Result{Set: r.installed}.Groups()
	if len(want.groups) < manyGroups || look%wholeEvery == 0 {
		groups, err := r.sw.DumpGroups(ctx)
		return takeGroups(groups), want, err
	}
	want.groups = nil
	var ids []uint32
	for o := range r.installedIn(look) {
		for _, g := range o.Groups {
			want.groups, ids = append(want.groups, g), append(ids, g.ID)
		}
	}
	slices.SortFunc(want.groups, flows.CompareGroups)
	groups, err := r.sw.DumpGroupsOf(ctx, ids)
	return takeGroups(groups), want, err
}

// takePart takes the flows in of the part whose turn it is.
func (r *Reconciler) takePart(ctx context.Context, have, want *tables) error {
	cookie, mask := partOf(r.part)
	entries, err := r.sw.DumpCookies(ctx, cookie, mask)
	if err != nil {
		return err
	}
	have.take(entries)
	for o := range r.installedIn(r.part) {
		want.flows = append(want.flows, o.Flows...)
	}
	flows.Sort(want.flows)
	r.part = (r.part + 1) % Parts
	return nil
}

// drift counts and reports what others did to the tables since the last pass: what turns
// them into what was installed. Mostly that is what is desired still, and c the answer.
func (r *Reconciler) drift(found tables, desired []*render.Owned, c change) {
	if !r.known {
		return
	}
	if !slices.Equal(r.installed, desired) {
		c = diffTables(found, tablesOf(r.installed))
	}
	if n := c.Size(); n > 0 {
		r.repaired += uint64(n)
		r.log.Warn("the switch was changed by somebody else and is put right", "flows and groups", n)
	}
}

func (r *Reconciler) forget() { r.installed, r.known = nil, false }

func (r *Reconciler) disconnectIfLost() {
	if r.sw == nil {
		return
	}
	select {
	case <-r.sw.Lost():
		_ = r.sw.Close()
		r.sw = nil
		r.forget()
	default:
	}
}

// Dump reads the flows and their counters, for people.
func (r *Reconciler) Dump(ctx context.Context) ([]openflow.Entry, error) {
	if r.sw == nil {
		return nil, errors.New("the switch is not connected")
	}
	return r.sw.Dump(ctx)
}

// DumpOwner is Dump of one owner's flows. Owners whose cookies are the same share them.
func (r *Reconciler) DumpOwner(ctx context.Context, owner flows.Owner) ([]openflow.Entry, error) {
	if r.sw == nil {
		return nil, errors.New("the switch is not connected")
	}
	return r.sw.DumpCookies(ctx, owner.Cookie(0), flows.OwnerMask)
}

// GroupPackets reads how many packets each bucket has got, by group and bucket, for people. Between groups and
// counters they may have changed: a group whose buckets are not as many in both is left out.
func (r *Reconciler) GroupPackets(ctx context.Context) (map[uint32]map[uint32]uint64, error) {
	if r.sw == nil {
		return nil, errors.New("the switch is not connected")
	}
	groups, err := r.sw.DumpGroups(ctx)
	if err != nil {
		return nil, err
	}
	stats, err := r.sw.GroupStats(ctx)
	if err != nil {
		return nil, err
	}
	buckets := make(map[uint32][]flows.Bucket, len(groups))
	for _, g := range groups {
		buckets[g.Group.ID] = g.Group.Buckets
	}
	out := make(map[uint32]map[uint32]uint64, len(stats))
	for _, s := range stats {
		list := buckets[s.ID]
		if len(list) != len(s.Buckets) {
			continue
		}
		out[s.ID] = make(map[uint32]uint64, len(list))
		for i, b := range list {
			out[s.ID][b.ID] = s.Buckets[i].Packets
		}
	}
	return out, nil
}

// Close lets the switch go; its flows stay.
func (r *Reconciler) Close() {
	if r.sw != nil {
		_ = r.sw.Close()
		r.sw = nil
	}
}
