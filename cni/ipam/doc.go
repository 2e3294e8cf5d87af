// Package ipam chooses addresses for pods. It only thinks: who holds what is read
// from OVSDB by the agent, which passes it in and writes the choice down; there is
// no file, no clock and no lock here.
//
// Of every range three addresses are never given to a pod: the network's own (it
// stands for the node in translations), the first host address (the node's gateway,
// every pod's router) and, in IPv4, the broadcast address.
//
// Start reading at [Pick].
package ipam
