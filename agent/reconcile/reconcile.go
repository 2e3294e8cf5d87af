// Package reconcile makes a switch hold the flows that were rendered, and nothing
// else: it compares, and applies the difference as one bundle.
package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// Dial opens the switch.
type Dial func(ctx context.Context) (openflow.Switch, error)

// Reconciler keeps one bridge's flow tables. It is not safe for concurrent use.
type Reconciler struct {
	dial Dial
	log  *slog.Logger

	sw openflow.Switch
	// installed is what the switch holds as far as is known, in the order of
	// flows.Sort. When nothing is known the next pass must look.
	installed []flows.Flow
	known     bool
	// repaired counts flows found to be other than this Reconciler left them.
	repaired uint64
	// connection counts the switches that were opened.
	connection uint64
}

// New makes a Reconciler that opens its switch when first needed, and again when
// it was lost.
func New(dial Dial, log *slog.Logger) *Reconciler { return &Reconciler{dial: dial, log: log} }

// Lost is closed when the switch has gone; nil (never) while none is open.
func (r *Reconciler) Lost() <-chan struct{} {
	if r.sw == nil {
		return nil
	}
	return r.sw.Lost()
}

// Repaired counts the flows put right behind others.
func (r *Reconciler) Repaired() uint64 { return r.repaired }

// Installed is the number of flows that the switch holds.
func (r *Reconciler) Installed() int { return len(r.installed) }

// Connection counts how often the switch was opened: another number means that it
// may have been restarted in between.
func (r *Reconciler) Connection() uint64 { return r.connection }

// Connected tells whether the switch answered when last asked.
func (r *Reconciler) Connected() bool { return r.sw != nil }

// Apply makes the switch hold exactly the desired flows, which are in the order of
// flows.Sort and are not changed afterwards. With look it dumps the tables first,
// whatever is known of them; without, it trusts what it left there: the list that
// it was given last costs nothing then. On an error nothing is presumed, and the next
// call looks.
func (r *Reconciler) Apply(ctx context.Context, desired []flows.Flow, look bool) error {
	if err := r.apply(ctx, desired, look); err != nil {
		r.forget()
		r.disconnectIfLost()
		return err
	}
	return nil
}

func (r *Reconciler) apply(ctx context.Context, desired []flows.Flow, look bool) error {
	r.disconnectIfLost()
	if r.sw == nil {
		sw, err := r.dial(ctx)
		if err != nil {
			return err
		}
		r.sw = sw
		r.forget()
		r.connection++
	}
	if !look && r.known && sameList(r.installed, desired) {
		return nil
	}
	var strange []openflow.Entry
	if look || !r.known {
		var err error
		if strange, err = r.look(ctx); err != nil {
			return err
		}
	}
	c := Diff(r.installed, desired)
	c.Remove = append(strange, c.Remove...)
	if !c.Empty() {
		if err := r.sw.Apply(ctx, c); err != nil {
			return fmt.Errorf("install %d flows, remove %d: %w", len(c.Add), len(c.Remove), err)
		}
		r.log.Debug("flows applied", "added", len(c.Add), "removed", len(c.Remove), "installed", len(desired))
	}
	r.installed = desired
	return nil
}

// look finds out what the switch holds. It returns the flows that are not of our
// vocabulary.
func (r *Reconciler) look(ctx context.Context) (strange []openflow.Entry, err error) {
	entries, err := r.sw.Dump(ctx)
	if err != nil {
		return nil, fmt.Errorf("dump the flows: %w", err)
	}
	found := make([]flows.Flow, 0, len(entries))
	for _, e := range entries {
		if e.Strange != "" {
			strange = append(strange, e)
			continue
		}
		found = append(found, e.Flow)
	}
	flows.Sort(found)
	if r.known {
		r.drift(Diff(found, r.installed), len(strange))
	}
	r.installed, r.known = found, true
	return strange, nil
}

// drift counts and reports what others did to the tables since the last pass.
func (r *Reconciler) drift(c openflow.Change, strange int) {
	if n := len(c.Add) + len(c.Remove) + strange; n > 0 {
		r.repaired += uint64(n)
		r.log.Warn("flows were changed by somebody else and are put right", "flows", n)
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
		return nil, fmt.Errorf("the switch is not connected")
	}
	return r.sw.Dump(ctx)
}

// Close lets the switch go; its flows stay.
func (r *Reconciler) Close() {
	if r.sw != nil {
		_ = r.sw.Close()
		r.sw = nil
	}
}

// sameList tells whether two lists are one.
func sameList(a, b []flows.Flow) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Diff is what turns the installed flows into the desired ones. Both lists are in the
// order of flows.Sort: most of two successive renders is alike, and what is alike is
// passed over without making any match's text.
func Diff(installed, desired []flows.Flow) openflow.Change {
	var c openflow.Change
	for len(installed) > 0 && len(desired) > 0 {
		have, want := installed[0], desired[0]
		same, order := have.Equal(want), 0
		if !same {
			order = compare(have, want)
		}
		switch {
		case order < 0:
			c.Remove = append(c.Remove, openflow.Entry{Flow: have})
		case order > 0 || !same: // an Add takes the place of the flow of its key
			c.Add = append(c.Add, want)
		}
		if order <= 0 {
			installed = installed[1:]
		}
		if order >= 0 {
			desired = desired[1:]
		}
	}
	for _, have := range installed {
		c.Remove = append(c.Remove, openflow.Entry{Flow: have})
	}
	c.Add = append(c.Add, desired...)
	return c
}

// compare is the order of flows.Sort, which is one of keys.
func compare(a, b flows.Flow) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), -cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Match.String(), b.Match.String()))
}
