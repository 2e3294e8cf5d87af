// Package server is the agent's half of the CNI socket: it makes the socket, and
// answers each connection's one request with what a [Handler] returns.
//
// Every goroutine it starts has ended when [Serve] returns. It never judges a
// request's content; that is cni/conf and the handler.
package server
