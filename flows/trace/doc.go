// Package trace asks a switch, by Open vSwitch's ofproto/trace, what becomes of a packet: it makes
// the packets of a connection as they enter this node's bridge, and reads what the switch answers.
// Whoever has a switch sends the one and gets the other.
//
// Begin with Packets and Parse.
package trace
