package forget

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-cni/sluice/ovs/conntrack"
)

const (
	// Key is the bridge's external_ids key of what is owed.
	Key = "sluice-forget"
	// separator stands between the matches in its value.
	separator = "; "
)

const (
	// again is how long after the first time what is due is forgotten once more: a packet that was
	// on its way through the old flows may have made itself known anew.
	again = time.Second
	// retry is when what could not be forgotten is tried again.
	retry = time.Second
	// bound is the longest that one round may take.
	bound = 20 * time.Second
)

// Ledger is what is owed. Its methods may be called at the same time.
type Ledger struct {
	log *slog.Logger
	// write keeps the note in OVSDB; an empty one is none.
	write func(ctx context.Context, note string) error
	// settled returns when the datapath's cached flows are those of the tables.
	settled func(ctx context.Context)
	tables  func(zone uint16) conntrack.Table
	kicks   chan struct{}

	// writing keeps the note in the order of what it says; it is taken before mu.
	writing sync.Mutex
	noted   string

	mu sync.Mutex
	// owed is by what is to be forgotten; fresh is set while some of it may not have been judged.
	owed     map[conntrack.Match]*debt
	fresh    bool
	recalled bool
	problem  string
}

// debt is one thing that is owed.
type debt struct {
	due bool
	// once is when it was forgotten for the first time, zero before.
	once time.Time
}

// New makes a ledger. Write keeps its note in OVSDB (an empty one is none), settled returns when the
// datapath's cached flows are those of the tables, and tables gives each zone's tracker.
func New(log *slog.Logger, write func(context.Context, string) error, settled func(context.Context), tables func(zone uint16) conntrack.Table) *Ledger {
	return &Ledger{
		log: log, write: write, settled: settled, tables: tables, kicks: make(chan struct{}, 1), owed: map[conntrack.Match]*debt{},
	}
}

// Recall takes over what an agent before this one noted. It does so once.
func (l *Ledger) Recall(note string) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.recalled {
		return
	}
	l.recalled, l.noted = true, note
	for text := range strings.SplitSeq(note, separator) {
		if text == "" {
			continue
		}
		m, err := conntrack.Parse(text)
		if err != nil {
			l.log.Warn("what is to be forgotten cannot be read", "error", err)
			continue
		}
		if l.owed[m] == nil {
			l.owed[m], l.fresh = &debt{}, true
		}
	}
}

// Recalled tells whether Recall has been called.
func (l *Ledger) Recalled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recalled
}

// Owe notes what is to be forgotten once the flows are other ones. Before it is noted they must not
// become so.
func (l *Ledger) Owe(ctx context.Context, matches []conntrack.Match) error {
	l.mu.Lock()
	for _, m := range matches {
		l.owed[m], l.fresh = &debt{}, true
	}
	l.mu.Unlock()
	return l.note(ctx)
}

// note writes what is owed, if it is not what is noted.
func (l *Ledger) note(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	list := make([]string, 0, len(l.owed))
	for m := range l.owed {
		list = append(list, m.String())
	}
	l.mu.Unlock()
	slices.Sort(list)
	text := strings.Join(list, separator)
	if text == l.noted {
		return nil
	}
	if err := l.write(ctx, text); err != nil {
		return fmt.Errorf("note which connections are to be forgotten: %w", err)
	}
	l.noted = text
	return nil
}

// Verdict says what becomes of a thing that is owed.
type Verdict uint8

// The verdicts.
const (
	// Due: its time has come.
	Due Verdict = iota
	// Wait: the connections are served yet.
	Wait
	// Never: such connections are made again.
	Never
	// Keep: it is another's matter (see InForce), and stays as it is.
	Keep
)

// Fresh tells whether something is owed that has not been judged.
func (l *Ledger) Fresh() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fresh
}

// Judge has judge say what becomes of what is owed, now that the flows are in force. It does not wait.
func (l *Ledger) Judge(judge func([]conntrack.Match) map[conntrack.Match]Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]conntrack.Match, 0, len(l.owed))
	for m := range l.owed {
		list = append(list, m)
	}
	l.fresh = false
	if len(list) == 0 {
		return
	}
	verdicts := judge(list)
	for m, d := range l.owed {
		switch verdicts[m] {
		case Keep:
		case Never:
			delete(l.owed, m)
		case Wait:
			d.due, d.once = false, time.Time{}
		case Due:
			d.due = true
		}
	}
	l.kick()
}

// InForce says that what the zone's translations are made by is as it is to be: what is owed there is
// due. It does not wait.
func (l *Ledger) InForce(zone uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for m, d := range l.owed {
		if m.Zone == zone && !d.due {
			d.due = true
			l.kick()
		}
	}
}

func (l *Ledger) kick() {
	select {
	case l.kicks <- struct{}{}:
	default:
	}
}

// Problem is why something could not be forgotten, empty if all was.
func (l *Ledger) Problem() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problem
}

// Run forgets what is due until ctx ends.
func (l *Ledger) Run(ctx context.Context) error {
	var later <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.kicks:
		case <-later:
		}
		next, err := l.round(ctx)
		if ctx.Err() != nil {
			continue
		}
		l.trouble(err)
		if err != nil {
			next = retry
		}
		if later = nil; next > 0 {
			later = time.After(next)
		}
	}
}

// round forgets what is due, and says when to look again; 0 is when something is due anew.
func (l *Ledger) round(ctx context.Context) (next time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	first, second, next := l.take(time.Now())
	if len(first) > 0 {
		l.settled(ctx)
	}
	for _, list := range []map[conntrack.Match]*debt{first, second} {
		if err := l.forget(ctx, list); err != nil {
			return 0, err
		}
	}
	l.mu.Lock()
	for m, d := range first {
		if l.owed[m] == d { // or it is owed anew
			d.once = time.Now()
			next = sooner(next, again)
		}
	}
	for m, d := range second {
		if l.owed[m] == d {
			delete(l.owed, m)
		}
	}
	l.mu.Unlock()
	return next, l.note(ctx)
}

// take is what is due for the first time and for the second, and when more will be.
func (l *Ledger) take(now time.Time) (first, second map[conntrack.Match]*debt, next time.Duration) {
	first, second = map[conntrack.Match]*debt{}, map[conntrack.Match]*debt{}
	l.mu.Lock()
	defer l.mu.Unlock()
	for m, d := range l.owed {
		left := d.once.Add(again).Sub(now)
		switch {
		case !d.due:
		case d.once.IsZero():
			first[m] = d
		case left <= 0:
			second[m] = d
		default:
			next = sooner(next, left)
		}
	}
	return first, second, next
}

// sooner is the lesser of two times that are not 0.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}

// forget has the trackers forget.
func (l *Ledger) forget(ctx context.Context, list map[conntrack.Match]*debt) error {
	zones := map[uint16][]conntrack.Match{}
	for m := range list {
		zones[m.Zone] = append(zones[m.Zone], m)
	}
	var errs []error
	for zone, matches := range zones {
		errs = append(errs, l.tables(zone).Forget(ctx, matches...))
	}
	return errors.Join(errs...)
}

// trouble keeps, and logs once, why something is not forgotten.
func (l *Ledger) trouble(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	l.mu.Lock()
	known := l.problem == text
	l.problem = text
	l.mu.Unlock()
	if text != "" && !known {
		l.log.Warn("connections to backends that have gone are not forgotten", "error", err)
	}
}
