// Package services asks a real switch and a real host what rendered Services do, with packets: one node
// in a namespace, without an agent. It needs root and Open vSwitch.
package services
