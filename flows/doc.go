// Package flows is the language that the rest of Sluice speaks to Open vSwitch
// in: Flow, Match, Action and Group as typed values, the pipeline's tables, and
// the registers that carry what one table tells the next.
//
// It is pure: no I/O, no clock, no goroutine, no logger. A Flow's String is exact
// ovs-ofctl(8) syntax in the order in which `ovs-ofctl dump-flows` prints it, so
// what is rendered, what is sent and what is dumped can be compared as text or, by
// Parse, as typed values.
//
// A Flow's text differs from what ovs-ofctl 3.1 prints of it in this only:
//
//   - table and priority always stand in it, a cookie of 0 does not; counters and ages
//     are not part of it.
//   - Some masks that ovs-ofctl leaves out are written: of a match on tun_gbp_flags or
//     on one of the two bits of nw_frag, and of a set_field of tun_flags.
//   - An action that this package has no words for is raw:BYTES.
//
// A match on ct_nw_proto=0 is one that Open vSwitch 3.1 itself leaves out of dumps.
//
// Start reading at pipeline.go (what a packet goes through), then registers.go
// (what it carries), then flow.go. fieldtable.go is the one list of fields, with their
// numbers on the wire; the actions are in action.go, move.go, send.go, control.go, ct.go
// and learn.go, each with its text and how that is read.
package flows
