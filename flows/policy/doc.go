// Package policy compiles NetworkPolicies into flows: the pure function of one node's state
// that the tables egress_policy to ingress_baseline, policies, addresses and identities hold.
//
// Each local pod that a policy selects has a dispatch in the table of its direction: it takes the
// other end's address, looks up who that is, and calls the policies that select the pod. A policy
// is a block of flows in the table policies, which reads the block's number, the other end's identity
// and the port, and knows no pod that it selects. What the policies leave undecided, the table behind
// the dispatch drops, with a flow of the pod's own. A pod that no policy selects has no flow here.
//
// A packet of a known connection is judged by what conntrack remembers (ct_label, ct_mark), in both
// directions, so that a change of policy is a change for connections that are there already.
//
// Numbers are made from names (numbers.go), so that they do not depend on what happened before.
// Begin with Compile.
package policy
