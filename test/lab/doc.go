// Package lab makes a cluster without Kubernetes on one machine: what a kubelet, a
// scheduler, an API server and a container runtime do for Sluice in a cluster,
// this package does for it in a lab. It is what the command sluice-lab is made of,
// and what tests use that need more than one node.
//
// A node is a network namespace with its own ovsdb-server, ovs-vswitchd and
// sluice-agent. A pod is a network namespace that is plugged in by running the
// real sluice-cni through libcni, and a process that answers on the ports that the
// Pod declares. The nodes stand on an underlay network, a Linux bridge in a
// namespace of its own, beside a machine that is no node, called outside.
//
// All that a lab is lies in /run/sluice-lab/NAME: lab.json, a copy of its objects,
// a directory for each node. A Lab is only a handle, so that each command, and
// each process, takes the lab up where the last one left it. Whatever is on the
// machine can be told to be this lab's: namespaces by the prefix of their names,
// processes by a variable in their environment or by their pid file's path. So
// Down removes all of it, also after a crash, and never anything else.
//
// What this package never does: set up anything that is the agent's to set up
// (bridge, tunnel, gateway, routes of pods, sysctls, nftables). It brings a node to
// where a booted machine is, with an address, a default route and Open vSwitch
// running; with the userspace datapath that takes a bridge under the node's address,
// see restoreUnderlay.
//
// Start reading at Up and Lab.Apply; cluster.accept is what happens to an object, without
// any I/O; host is a node as a machine.
package lab
