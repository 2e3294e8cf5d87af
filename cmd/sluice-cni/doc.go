// Sluice-cni is the CNI plugin that runtimes execute, installed as "sluice": it hands
// the verb to the node's agent over a unix socket and prints the answer (CNI
// specification 1.1.0, section 2).
//
// It is in the way of every pod's start, so it imports little: the Go runtime's
// initial work grows with what is linked in. Measured in one interleaved run, static,
// where true took 1.0 ms: a bare forwarder 2.4 ms, with containernetworking's skel
// 2.8; net/http cost another 0.5, netlink 0.2, libc by cgo 0.6. Hence system calls
// instead of net, no skel, no netlink and no flags; a test holds the list of imports.
// The one luxury is encoding/json (with fmt), 0.2 ms. BenchmarkExec measures the whole:
// an ADD of 1.6 ms, 2.4 times true.
//
// What it does without the agent: VERSION, and DEL, which must succeed on a node that
// is being drained or is broken. It then deletes the cable by its name; the agent
// frees the port and the address later.
package main
