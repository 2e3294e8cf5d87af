// Package openflow programs a bridge's flow tables.
//
// Switch is all that the agent needs of it. Dial makes one: a Conn, which speaks
// OpenFlow 1.5 natively on the bridge's management socket, with the few of Open
// vSwitch's extensions that the pipeline uses. Text in ovs-ofctl's syntax is for
// people and tests; both come from the same typed flows.Flow.
//
// It never interprets a flow, decides what a table should hold, redials, or
// retries: whoever holds a Conn hears of its end by Lost and dials again.
//
// Start reading at openflow.go (what it offers), then conn.go (one connection and
// its two goroutines), bundle.go (a change, as it goes over the wire) and dump.go.
// The codec stands below: wire.go (numbers and lengths), message.go (frames),
// oxm.go (the one table of fields), match.go, action.go, flowmod.go, group.go and
// errors.go.
//
// "The specification" in comments is the OpenFlow Switch Specification 1.5.1; its
// structures are named as there. What is Open vSwitch's own is named as in its
// headers (nicira-ext.h, netronome-ext.h) or in ovs-fields(7) and ovs-actions(7).
package openflow
