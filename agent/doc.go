// Package agent is the node daemon: it watches, computes what this node must be,
// compares it with what is there, and applies the difference. It never adds a flow
// because an event happened.
//
// Start at Agent.Run (agent.go), then pass (pass.go): one look at everything, one
// render, one bundle. Plugging cables is package plugging's; it changes what there is
// (the veth, the OVSDB row) and asks for a pass. node.go is what it asks of the agent.
package agent
