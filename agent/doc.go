// Package agent is the node daemon: it watches, computes what this node must be,
// compares it with what is there, and applies the difference. It never adds a flow
// because an event happened.
//
// Start at Agent.Run (agent.go), then pass (pass.go): one look at everything, one
// render, one bundle. Plugging a cable is in add.go and del.go; they change what
// there is (the veth, the OVSDB row) and ask for a pass.
package agent
