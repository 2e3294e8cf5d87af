package host

import (
	"slices"
	"sync"
)

// Moved are the pods' cables of which [Watch] has heard, until somebody takes them: so
// that what a node does about one of them does not grow with the others. The zero Moved
// is not ready to use: see NewMoved.
type Moved struct {
	// C has a value when there are some to take.
	C chan struct{}

	mu    sync.Mutex
	names map[string]bool
}

// NewMoved makes an empty one.
func NewMoved() *Moved { return &Moved{C: make(chan struct{}, 1), names: map[string]bool{}} }

// Note adds cables. Without a name it only says that the cables that are wanted are
// others.
func (m *Moved) Note(names ...string) {
	m.mu.Lock()
	for _, n := range names {
		m.names[n] = true
	}
	m.mu.Unlock()
	tell(m.C)
}

// take empties it.
func (m *Moved) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.names))
	for n := range m.names {
		names = append(names, n)
	}
	clear(m.names)
	slices.Sort(names)
	return names
}
