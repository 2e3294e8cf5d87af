// Package verdict says what the NetworkPolicies of a cluster say about a connection: allowed
// or not, by which policy and rule, and why. It is written from the text of the API
// (k8s.io/api/networking/v1), slowly and plainly, and knows nothing but package state: it is
// what the compiled flows are held against, and what people are told.
//
// Begin with Judge. Lead says of a node's host port whom it leads to; that connection is judged then.
//
// Beyond the API's text: a pod always reaches itself; a pod and its own node always reach each
// other (kubelet's probes); a pod on the host's network is its node, neither selected nor a
// peer by its labels; the address of a pod that has finished is nobody's; a namespace without an
// object has no label but its name. What is no TCP, UDP or SCTP has no port: it is allowed by rules
// without ports only.
package verdict
