// Package reconcile makes a switch hold the flows that were rendered, and nothing
// else: it compares, and applies the difference as one bundle.
package reconcile

import (
	"context"
	"fmt"
	"log/slog"

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
	// installed is what the switch holds as far as is known; nil when nothing is
	// known and the next pass must look.
	installed map[flows.Key]flows.Flow
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

// Apply makes the switch hold exactly the desired flows. With look it dumps the
// tables first, whatever is known of them; without, it trusts what it left there.
// On an error nothing is presumed, and the next call looks.
func (r *Reconciler) Apply(ctx context.Context, desired []flows.Flow, look bool) error {
	if err := r.apply(ctx, desired, look); err != nil {
		r.installed = nil
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
		r.sw, r.installed = sw, nil
		r.connection++
	}
	var strange []openflow.Entry
	if look || r.installed == nil {
		known := r.installed
		entries, err := r.sw.Dump(ctx)
		if err != nil {
			return fmt.Errorf("dump the flows: %w", err)
		}
		r.installed = make(map[flows.Key]flows.Flow, len(entries))
		for _, e := range entries {
			if e.Strange != "" {
				strange = append(strange, e)
				continue
			}
			r.installed[e.Flow.Key()] = e.Flow
		}
		if known != nil {
			r.drift(known, len(strange))
		}
	}
	c := Diff(r.installed, desired)
	c.Remove = append(strange, c.Remove...)
	if c.Empty() {
		return nil
	}
	if err := r.sw.Apply(ctx, c); err != nil {
		return fmt.Errorf("install %d flows, remove %d: %w", len(c.Add), len(c.Remove), err)
	}
	for _, e := range c.Remove {
		delete(r.installed, e.Flow.Key())
	}
	for _, f := range c.Add {
		r.installed[f.Key()] = f
	}
	r.log.Debug("flows applied", "added", len(c.Add), "removed", len(c.Remove), "installed", len(r.installed))
	return nil
}

// drift counts and reports what others did to the tables since the last pass.
func (r *Reconciler) drift(known map[flows.Key]flows.Flow, strange int) {
	n := strange
	for key, want := range known {
		if got, ok := r.installed[key]; !ok || !got.Equal(want) {
			n++
		}
	}
	for key := range r.installed {
		if _, ok := known[key]; !ok {
			n++
		}
	}
	if n > 0 {
		r.repaired += uint64(n)
		r.log.Warn("flows were changed by somebody else and are put right", "flows", n)
	}
}

func (r *Reconciler) disconnectIfLost() {
	if r.sw == nil {
		return
	}
	select {
	case <-r.sw.Lost():
		_ = r.sw.Close()
		r.sw, r.installed = nil, nil
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

// Diff is what turns the installed flows into the desired ones.
func Diff(installed map[flows.Key]flows.Flow, desired []flows.Flow) openflow.Change {
	var c openflow.Change
	wanted := make(map[flows.Key]bool, len(desired))
	for _, f := range desired {
		key := f.Key()
		wanted[key] = true
		if have, ok := installed[key]; !ok || !have.Equal(f) {
			c.Add = append(c.Add, f)
		}
	}
	for key, f := range installed {
		if !wanted[key] {
			c.Remove = append(c.Remove, openflow.Entry{Flow: f})
		}
	}
	return c
}
