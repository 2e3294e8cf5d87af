// Package openflow is a client of a bridge's OpenFlow tables.
//
// Switch is all that most of the agent needs of it. Dial makes one: a Conn, which
// speaks OpenFlow 1.5 natively on the bridge's management socket, with Open vSwitch's
// extensions. Text in ovs-ofctl's syntax is for
// people and tests; both come from the same typed flows.Flow.
//
// The protocol is messages with a type, a length and a transaction id, in both
// directions at once. There are four kinds of conversations:
//
//   - A request that is answered by one message or, if it is multipart, by many:
//     Dump, DumpGroups, DumpMeters, the counters (GroupStats, TableStats, PortStats,
//     MeterStats), Ports. Each part is decoded as it comes (dump.go, stats.go, meter.go).
//   - Commands that are answered only if they are refused. A barrier behind them says
//     that no refusal is still to come: SendPacket, ResumePacket, meters (Conn.command).
//   - A bundle: commands that the switch holds back until all are there and right, and
//     then makes as one change, with one word about each that it refuses: Apply
//     (bundle.go). Open vSwitch takes no meters into it; they go before and behind.
//   - News, unasked once they were asked for: packets (Packets), and what anybody does
//     to the flows (Watch). They go to channels that are closed with the connection; if
//     a receiver is slow they are dropped, and it is told (async.go, packet.go, monitor.go).
//
// Everything has a bound and an error that says what was waited for. A switch that
// is lost, restarted or silent ends all conversations at once (Lost).
//
// The package never interprets a flow, decides what a table should hold, redials, or
// retries: whoever holds a Conn hears of its end and dials again.
//
// Start reading at openflow.go (what it offers), then conn.go (one connection and
// its two goroutines), call.go (who waits for which answer) and one of the
// conversations. The codec stands below: wire.go (numbers and lengths), message.go
// (frames), oxm.go (fields, by the one table in package flows), match.go, action.go and
// the files of single actions, instruction.go, flowmod.go, group.go and errors.go.
//
// "The specification" in comments is the OpenFlow Switch Specification 1.5.1; its
// structures are named as there. What is Open vSwitch's own is named as in its
// headers (nicira-ext.h, netronome-ext.h) or in ovs-fields(7) and ovs-actions(7).
package openflow
