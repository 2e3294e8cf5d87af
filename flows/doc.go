// Package flows is the language that the rest of Sluice speaks to Open vSwitch
// in: Flow, Match, Action and Group as typed values, the pipeline's tables, and
// the registers that carry what one table tells the next.
//
// It is pure: no I/O, no clock, no goroutine, no logger. A Flow's String is exact
// ovs-ofctl(8) syntax in the order in which `ovs-ofctl dump-flows` prints it, so
// what is rendered, what is sent and what is dumped can be compared as text or, by
// Parse, as typed values.
//
// Start reading at pipeline.go (what a packet goes through), then registers.go
// (what it carries), then flow.go.
package flows
