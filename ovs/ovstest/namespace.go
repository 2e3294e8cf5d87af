package ovstest

import (
	"runtime"
	"testing"

	"github.com/sluice-cni/sluice/ovs/netns"
)

// Namespace is a network namespace that belongs to one test.
type Namespace struct {
	// Name is what `ip netns` shows; it is unique on this machine.
	Name string
	// Path is its file, for setns(2).
	Path string
	t    testing.TB
}

// NewNamespace makes a namespace with lo up, which is gone when the test ends.
func NewNamespace(t testing.TB) *Namespace {
	t.Helper()
	name := uniqueName()
	path, err := netns.Create(name)
	if err != nil {
		t.Fatalf("%v (this test needs root)", err)
	}
	t.Cleanup(func() {
		if err := netns.Delete(name); err != nil {
			t.Error(err)
		}
	})
	return &Namespace{Name: name, Path: path, t: t}
}

// Do runs fn on a thread in the namespace. fn may end the test (t.Fatal). What
// netns.Do says of goroutines started by fn holds here too.
func (n *Namespace) Do(fn func()) {
	n.t.Helper()
	returned := false
	err := netns.Do(n.Path, func() error {
		fn()
		returned = true
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if !returned {
		// fn called t.Fatal or t.Skip, which ended only its own goroutine.
		runtime.Goexit()
	}
}

// Delete removes the namespace before the test ends, as when a pod goes.
func (n *Namespace) Delete() {
	n.t.Helper()
	if err := netns.Delete(n.Name); err != nil {
		n.t.Fatal(err)
	}
}
