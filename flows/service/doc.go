// Package service says what a node does for Services: which backends its clients are given and why
// ([Resolve]), and the flows and groups that give them ([Resolver] keeps what has not changed).
//
// A Service's virtual address is translated on the node of the client, so each node has its own
// answer: backends of this node or zone may come before others.
//
// Start at resolve.go; backends.go has the API's rules.
package service
