// Package traffic makes traffic that goes on while a test disturbs a node, and tells
// what became of it: echo requests, TCP and UDP streams of numbered messages, and
// connections opened one after the other. All of it is between network namespaces.
package traffic
