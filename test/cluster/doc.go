// Command sluice-cluster runs a real Kubernetes on one machine and Sluice in it, as
// a user would install it: kubelet and containerd run sluice-cni, the API server is
// what the agents watch.
//
// A node is a machine of a lab without agents (package test/lab: network namespace,
// underlay, Open vSwitch) with process, mount and host name namespaces of its own.
// Its first process is this program (machine.go), which starts containerd and
// kubelet, and again when they end. So all paths on a node are those of any
// machine, /etc/cni/net.d, /run/sluice, /var/lib/kubelet, and none meets another
// node's. The control plane runs in the namespace of the lab's outside machine.
//
// Kubernetes and containerd are built from their Go modules into a cache (build.go),
// etcd and runc are the distribution's, images are made here (images.go). Nothing is
// pulled from anywhere.
//
// All that a cluster is lies in /run/sluice-cluster/NAME; its lab is cluster-NAME.
// Start reading at up (up.go).
package main
