package forget_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-cni/sluice/agent/forget"
	"github.com/sluice-cni/sluice/ovs/conntrack"
)

// world is what a ledger has to do with: it writes down what happens, in order.
type world struct {
	mu   sync.Mutex
	log  []string
	note string
	fail error
}

func (w *world) did(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, what)
}

// happened is what did since the last time.
func (w *world) happened() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.log
	w.log = nil
	return out
}

func (w *world) Forget(_ context.Context, matches ...conntrack.Match) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	for _, m := range matches {
		w.log = append(w.log, "forget "+m.Reply.Src.String())
	}
	return nil
}

func (w *world) ledger() *forget.Ledger {
	return forget.New(slog.New(slog.DiscardHandler),
		func(_ context.Context, note string) error { w.note = note; w.did("note"); return nil },
		func(context.Context) { w.did("settle") },
		func(uint16) conntrack.Table { return w })
}

// run runs the ledger until the test ends.
func run(t *testing.T, l *forget.Ledger) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	synctest.Wait() // for its first round, which finds nothing due
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func to(backend string) conntrack.Match {
	return conntrack.Match{
		Zone: 100, Protocol: conntrack.UDP, Original: conntrack.Tuple{Dst: netip.MustParseAddrPort("10.96.0.10:53")},
		Reply: conntrack.Tuple{Src: netip.MustParseAddrPort(backend)},
	}
}

func all(v forget.Verdict) func([]conntrack.Match) map[conntrack.Match]forget.Verdict {
	return func(list []conntrack.Match) map[conntrack.Match]forget.Verdict {
		out := map[conntrack.Match]forget.Verdict{}
		for _, m := range list {
			out[m] = v
		}
		return out
	}
}

func expect(t *testing.T, w *world, when string, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := w.happened(); !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", when, got, want)
	}
}

func TestWhatIsOwedIsNotedThenForgottenTwiceThenNoLongerNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		l := w.ledger()
		run(t, l)
		if err := l.Owe(t.Context(), []conntrack.Match{to("10.244.1.2:53")}); err != nil {
			t.Fatal(err)
		}
		expect(t, w, "owed", "note")
		if w.note == "" {
			t.Error("nothing is noted")
		}
		time.Sleep(time.Minute)
		expect(t, w, "before the flows are in force")
		l.Judge(all(forget.Due))
		expect(t, w, "in force", "settle", "forget 10.244.1.2:53")
		time.Sleep(2 * time.Second)
		expect(t, w, "again", "forget 10.244.1.2:53", "note")
		if w.note != "" {
			t.Errorf("%q is noted yet", w.note)
		}
		time.Sleep(time.Minute)
		expect(t, w, "done")
	})
}

func TestANewAgentForgetsWhatTheOneBeforeOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		if err := w.ledger().Owe(t.Context(), []conntrack.Match{to("10.244.1.2:53"), to("[fd00::2]:53")}); err != nil {
			t.Fatal(err)
		}
		expect(t, w, "owed", "note")
		next := w.ledger()
		run(t, next)
		next.Recall(w.note + "; nonsense")
		if !next.Fresh() {
			t.Fatal("nothing is known of it")
		}
		next.Judge(func(list []conntrack.Match) map[conntrack.Match]forget.Verdict {
			return map[conntrack.Match]forget.Verdict{to("10.244.1.2:53"): forget.Due, to("[fd00::2]:53"): forget.Never}
		})
		expect(t, w, "in force", "settle", "forget 10.244.1.2:53", "note")
		time.Sleep(2 * time.Second)
		expect(t, w, "again", "forget 10.244.1.2:53", "note")
		next.Recall(to("10.244.1.9:53").String())
		if next.Fresh() {
			t.Error("it was recalled a second time")
		}
	})
}

func TestABackendThatServesYetIsWaitedForAndOneThatIsUsedAgainIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		l := w.ledger()
		run(t, l)
		_ = l.Owe(t.Context(), []conntrack.Match{to("10.244.1.2:53")})
		l.Judge(all(forget.Wait))
		time.Sleep(time.Minute)
		expect(t, w, "it serves", "note")
		l.Judge(all(forget.Due))
		expect(t, w, "it has gone", "settle", "forget 10.244.1.2:53")
		l.Judge(all(forget.Never))
		time.Sleep(time.Minute)
		expect(t, w, "it is back", "note")
	})
}

func TestWhatCannotBeForgottenIsToldAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{fail: errors.New("no")}
		l := w.ledger()
		run(t, l)
		_ = l.Owe(t.Context(), []conntrack.Match{to("10.244.1.2:53")})
		l.Judge(all(forget.Due))
		expect(t, w, "it fails", "note", "settle")
		if l.Problem() != "no" {
			t.Errorf("told %q", l.Problem())
		}
		w.mu.Lock()
		w.fail = nil
		w.mu.Unlock()
		time.Sleep(5 * time.Second)
		expect(t, w, "later", "settle", "forget 10.244.1.2:53", "forget 10.244.1.2:53", "note")
		if l.Problem() != "" {
			t.Errorf("told %q yet", l.Problem())
		}
	})
}
