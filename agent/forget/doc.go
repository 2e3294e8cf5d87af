// Package forget has the connection trackers forget what no longer holds: UDP connections to a
// backend that a Service no longer has, or by a port of a node's that leads elsewhere by now. Their sockets send on, and would be served by nobody.
//
// What is to be forgotten follows from the flows that there were and those that there will be. It is
// owed, and noted in OVSDB, before the flows change; it is due once they are in force; and it is noted
// until it is done, whatever becomes of the agent meanwhile.
//
// Policies need none of this: they judge known connections too.
package forget
