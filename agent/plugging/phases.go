package plugging

import (
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// phases are how long the parts of one request took, for the line that is logged
// about it and for the metrics; some run at the same time.
type phases struct {
	mu   sync.Mutex
	took []phase
}

type phase struct {
	name string
	took time.Duration
}

// begin starts a phase; what it returns ends it.
func (p *phases) begin(name string) (end func()) {
	began := time.Now()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.took = append(p.took, phase{name, time.Since(began)})
	}
}

// all are the phases that have ended, in the order in which they did.
func (p *phases) all() iter.Seq2[string, time.Duration] {
	p.mu.Lock()
	took := slices.Clone(p.took)
	p.mu.Unlock()
	return func(yield func(string, time.Duration) bool) {
		for _, one := range took {
			if !yield(one.name, one.took) {
				return
			}
		}
	}
}

// attr is all of them, by name; it adds nothing where there are none.
func (p *phases) attr() slog.Attr {
	var attrs []slog.Attr
	for name, took := range p.all() {
		attrs = append(attrs, slog.Duration(name, took))
	}
	return slog.Attr{Key: "phases", Value: slog.GroupValue(attrs...)}
}
