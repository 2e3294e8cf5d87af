package plugging

import (
	"log/slog"
	"slices"
	"sync"
	"time"
)

// phases are how long the parts of one request took, for the line that is logged
// about it; some run at the same time.
type phases struct {
	mu   sync.Mutex
	took []slog.Attr
}

// begin starts a phase; what it returns ends it.
func (p *phases) begin(name string) (end func()) {
	began := time.Now()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.took = append(p.took, slog.Duration(name, time.Since(began)))
	}
}

// attr is all of them, by name; it adds nothing where there are none.
func (p *phases) attr() slog.Attr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slog.Attr{Key: "phases", Value: slog.GroupValue(slices.Clone(p.took)...)}
}
