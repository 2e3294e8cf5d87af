// Package netns makes, enters and removes network namespaces.
//
// It is the only place that switches an OS thread between namespaces: a thread
// that leaks out in the wrong one makes unrelated code act on another
// machine's devices, so callers hand a function to Do and never call setns(2)
// themselves. Namespaces made here are bind-mounted under Dir, where iproute2
// keeps its own: `ip netns exec NAME` works on them.
package netns
