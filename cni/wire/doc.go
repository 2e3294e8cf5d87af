// Package wire is what the CNI executable and the agent say to each other: one
// request and one response on a unix stream socket, each a length of four bytes,
// big-endian, and so many bytes of JSON. Before the response to a request that
// takes long there is a receipt, by which the client knows that the agent is alive.
//
// The client keeps the connection open in both directions until it has the
// response: an end of file means that it has given up, and the agent undoes what
// it was doing.
//
// The package is part of an executable that a runtime starts once or more for
// each pod, so it imports nothing that costs start-up time (no net, no log): the
// listening half is in [github.com/sluice-cni/sluice/cni/wire/server]. It never
// opens a socket by itself: it reads and writes what it is given.
//
// Start reading at [Request].
package wire
