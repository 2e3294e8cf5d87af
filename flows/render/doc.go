// Package render is the pure function: state in, a node's flows, groups and host
// settings out. It never does I/O, reads no clock and has no memory; two equal
// states give two equal results, in the same order.
//
// Start at Tables (render.go): one function a kind of owner, each of which emits
// that owner's flows in the order in which a packet meets them.
package render
