//go:build long

package scenarios

import (
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
)

// TestTheSourceIsAwayUnderTraffic: for a minute, and empty for a while after that.
func TestTheSourceIsAwayUnderTraffic(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n1 := node(t, l, "n1")
	serveAll(t, l)
	w := begin(t, l, addStatic(t, l))
	time.Sleep(settle)
	back := takeAway(t, n1, false)
	since := unreadable(t, n1, true)
	time.Sleep(time.Until(since.Add(time.Minute)))
	if now := unreadable(t, n1, true); !now.Equal(since) {
		t.Errorf("unreadable since %s, then since %s", since, now)
	}
	back()
	unreadable(t, n1, false)
	back = takeAway(t, n1, true)
	unreadable(t, n1, true)
	time.Sleep(settle)
	back()
	unreadable(t, n1, false)
	time.Sleep(settle)
	w.end(t)
}
