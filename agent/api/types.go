// Package api is what an agent tells over its socket (agent.sock, HTTP): the
// types, the server and the client. The JSON is read by sluicectl, by the lab
// and by operators' own tools.
package api

import "time"

// Status is the answer to GET /status.
type Status struct {
	Node    string `json:"node"`
	Version string `json:"version"`
	// Ready is set once the agent serves CNI ADD and its tables are in.
	Ready bool `json:"ready"`
	// Problems say in words what keeps the agent from being ready or whole, and
	// what to do. Empty when all is well.
	Problems []string `json:"problems,omitempty"`

	Bridge   BridgeStatus   `json:"bridge"`
	Tunnel   TunnelStatus   `json:"tunnel"`
	Input    InputStatus    `json:"input"`
	Flows    FlowStatus     `json:"flows"`
	Ports    []PortStatus   `json:"ports"`
	PodCIDRs []string       `json:"podCIDRs,omitempty"`
	MTU      int            `json:"mtu,omitempty"`
	Started  time.Time      `json:"started"`
	Peers    []PeerStatus   `json:"peers,omitempty"`
	Host     HostSideStatus `json:"host"`
}

// BridgeStatus is the integration bridge.
type BridgeStatus struct {
	Name string `json:"name"`
	// Datapath is "system" (kernel) or "netdev" (userspace).
	Datapath string `json:"datapath"`
	// Why says how the datapath was chosen.
	Why        string `json:"why"`
	OVSVersion string `json:"ovsVersion"`
	// RestoreWait says in words what flow-restore-wait is set for; empty if it is not.
	RestoreWait string `json:"restoreWait,omitempty"`
	// Connected: ovsdb-server and the bridge's OpenFlow socket both answer.
	Connected bool `json:"connected"`
}

// TunnelStatus is this node's end of the tunnels.
type TunnelStatus struct {
	Encapsulation string `json:"encapsulation"`
	LocalAddress  string `json:"localAddress"`
	// OtherLocalAddress is the one of the other family, if the underlay here has both.
	OtherLocalAddress string `json:"otherLocalAddress,omitempty"`
	Device            string `json:"device"`
	DeviceMTU         int    `json:"deviceMTU"`
}

// PeerStatus is another node, reached by the tunnel.
type PeerStatus struct {
	Node     string   `json:"node"`
	Address  string   `json:"address"`
	PodCIDRs []string `json:"podCIDRs"`
}

// InputStatus says which input is known and which is in force. Seen and
// Installed are opaque, equal strings when all that was seen is in force. For a
// directory of manifests they are source.Digest over its files.
type InputStatus struct {
	// Source is "manifests DIR" or "kubernetes URL".
	Source    string `json:"source"`
	Seen      string `json:"seen"`
	Installed string `json:"installed"`
	// Errors are what could not be read, with file and line; while there are any,
	// the last good input stays in force.
	Errors []string `json:"errors,omitempty"`
	// Since is when Installed last changed.
	Since time.Time `json:"since,omitzero"`
	// UnreadableSince is when Errors began, zero while there are none.
	UnreadableSince time.Time `json:"unreadableSince,omitzero"`
}

// FlowStatus counts the bridge's flows.
type FlowStatus struct {
	Desired   int `json:"desired"`
	Installed int `json:"installed"`
	// Repaired counts flows that somebody else changed, added or removed, and
	// that were put right.
	Repaired uint64 `json:"repaired"`
	// Error is why the last attempt to install failed, empty if it did not.
	Error string `json:"error,omitempty"`
}

// HostSideStatus is the state of routes, addresses, sysctls and nftables rules.
type HostSideStatus struct {
	Error    string `json:"error,omitempty"`
	Repaired uint64 `json:"repaired"`
}

// The states of an attachment.
const (
	PodPlugged  = "plugged"
	PodPlugging = "plugging"
	PodLeaving  = "leaving"
	// PodSuperseded is a sandbox whose pod has a newer one.
	PodSuperseded = "superseded"
	// PodOrphan is what nobody seems to need any more; Reason says why it is kept.
	PodOrphan = "orphan"
)

// PodStatus is an attachment, as GET /pods tells it.
type PodStatus struct {
	// Pod is namespace/name, empty for a container that is no pod.
	Pod         string `json:"pod,omitempty"`
	Network     string `json:"network"`
	IfName      string `json:"ifName"`
	ContainerID string `json:"containerID"`
	// Port is the name of the OVS port and of the cable's end on the host.
	Port      string   `json:"port"`
	OFPort    uint32   `json:"ofport"`
	Addresses []string `json:"addresses"`
	MAC       string   `json:"mac"`
	NetNS     string   `json:"netns,omitempty"`
	// Bridge is where the port is on a second network, with its VLANs; Device the device
	// that was moved; both are empty on the pod network.
	Bridge string `json:"bridge,omitempty"`
	VLAN   int    `json:"vlan,omitempty"`
	Trunk  []int  `json:"trunk,omitempty"`
	Device string `json:"device,omitempty"`
	// IngressRate and EgressRate are what it may receive and send, in bits a second; 0:
	// as much as there is.
	IngressRate uint64 `json:"ingressRate,omitempty"`
	EgressRate  uint64 `json:"egressRate,omitempty"`
	// HostPorts are the node's ports that lead to it, as 8080:80/TCP or 192.0.2.7:8080:80/TCP.
	HostPorts []string `json:"hostPorts,omitempty"`
	// IPAM is the plugin that gave the addresses, empty for Sluice itself.
	IPAM    string    `json:"ipam,omitempty"`
	Created time.Time `json:"created"`
	// State is one of the constants above; Reason says why, where that is a question.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// PortStatus is a port of the bridge.
type PortStatus struct {
	Name   string `json:"name"`
	OFPort int    `json:"ofport"`
	// Kind is "tunnel", "gateway", "pod" or "foreign".
	Kind      string   `json:"kind"`
	Addresses []string `json:"addresses,omitempty"`
	MAC       string   `json:"mac,omitempty"`
	// Pod is namespace/name, empty for what is no pod.
	Pod         string `json:"pod,omitempty"`
	Network     string `json:"network,omitempty"`
	ContainerID string `json:"containerID,omitempty"`
	IfName      string `json:"ifName,omitempty"`
	Error       string `json:"error,omitempty"`
}
