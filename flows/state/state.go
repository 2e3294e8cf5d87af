// Package state is the input of the dataplane function: small, serialisable
// types that say what a node's tables are made from.
//
// It knows nothing of Kubernetes' API machinery (that stops at agent/source),
// of Open vSwitch, or of time. A State can be written as JSON or YAML, read
// back, and compared; two equal States render to the same flows.
package state

import (
	"cmp"
	"net/netip"
	"strings"
)

// State is everything that one node's dataplane depends on. The slices need no
// order: render sorts what it depends on.
type State struct {
	// Node is the name of the node whose tables are meant.
	Node string `json:"node"`
	// Namespaces, Nodes and Pods are the cluster's objects, all that is known
	// of them here.
	Namespaces []Namespace `json:"namespaces,omitempty"`
	Nodes      []Node      `json:"nodes,omitempty"`
	Pods       []Pod       `json:"pods,omitempty"`
	// NetworkPolicies are the cluster's, readable or not.
	NetworkPolicies []NetworkPolicy `json:"networkPolicies,omitempty"`
	// Services are those that have virtual addresses, EndpointSlices those of any Service.
	Services       []Service       `json:"services,omitempty"`
	EndpointSlices []EndpointSlice `json:"endpointSlices,omitempty"`
	// Attachments are the cables plugged into this node's bridge.
	Attachments []Attachment `json:"attachments,omitempty"`
	// Facts are what this node's own machine says about itself.
	Facts Facts `json:"facts"`
	// Config is what the operator chose.
	Config Config `json:"config"`
}

// Namespace is a Kubernetes Namespace.
type Namespace struct {
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
	// Labels always have NamespaceNameLabel.
	Labels map[string]string `json:"labels,omitempty"`
}

// NamespaceNameLabel is the label by which each namespace has its name; the API server
// sets it.
const NamespaceNameLabel = "kubernetes.io/metadata.name"

// Node is a Kubernetes Node, as far as the network needs it.
type Node struct {
	Name   string            `json:"name"`
	UID    string            `json:"uid,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// Addresses are the InternalIPs, of either family, in the object's order. The first
	// of a family is where tunnels to the node end.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// PodCIDRs are Node.spec.podCIDRs, masked: of one family or both, in either order.
	PodCIDRs []netip.Prefix `json:"podCIDRs,omitempty"`
	// Ready is the Ready condition's status; without one, a node with addresses counts as ready.
	Ready bool `json:"ready,omitempty"`
	// Deleting is set once the object has a deletion timestamp.
	Deleting bool `json:"deleting,omitempty"`
	// Created is metadata.creationTimestamp in seconds since 1970, 0 if unknown.
	Created int64 `json:"created,omitempty"`
}

// Pod is a Kubernetes Pod, as far as the network needs it.
type Pod struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	UID       string            `json:"uid,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Node      string            `json:"node,omitempty"`
	// Addresses are status.podIPs.
	Addresses   []netip.Addr `json:"addresses,omitempty"`
	HostNetwork bool         `json:"hostNetwork,omitempty"`
	// Ports are those that have a name: of the containers, then of the init containers
	// that go on running, in the object's order.
	Ports []NamedPort `json:"ports,omitempty"`
	// HostPorts are those of the same containers that are ports of the node's, too. A pod on
	// the host's network has none.
	HostPorts []HostPort `json:"hostPorts,omitempty"`
	// Finished is set in phase Succeeded or Failed: the address may be another's by now.
	Finished bool `json:"finished,omitempty"`
	Deleting bool `json:"deleting,omitempty"`
	// Created is metadata.creationTimestamp in seconds since 1970, 0 if unknown.
	Created int64 `json:"created,omitempty"`
	// AskedIPs and AskedMAC are what the annotations sluice.dev/ips and sluice.dev/mac
	// ask for, as written. They are read when the pod is plugged in, and never again.
	AskedIPs string `json:"askedIPs,omitempty"`
	AskedMAC string `json:"askedMAC,omitempty"`
	// AskedIngress and AskedEgress are what the annotations kubernetes.io/ingress-bandwidth
	// and egress-bandwidth ask for, as written; read as those above.
	AskedIngress string `json:"askedIngress,omitempty"`
	AskedEgress  string `json:"askedEgress,omitempty"`
}

// CompareKeys compares namespace/name of two objects, a and b: a watched cluster's are in that order. The '/' counts: it
// comes after the '-' of a namespace that begins with another's name.
func CompareKeys(aNamespace, aName, bNamespace, bName string) int {
	if aNamespace == bNamespace {
		return strings.Compare(aName, bName)
	}
	n := min(len(aNamespace), len(bNamespace))
	if c := strings.Compare(aNamespace[:n], bNamespace[:n]); c != 0 {
		return c
	}
	if n == len(aNamespace) {
		return cmp.Compare('/', bNamespace[n])
	}
	return cmp.Compare(aNamespace[n], '/')
}

// Attachment is one cable: a container's interface on this node's bridge. Its
// key is (Network, ContainerID, IfName), whole.
type Attachment struct {
	Network     string `json:"network,omitempty"`
	ContainerID string `json:"containerID,omitempty"`
	IfName      string `json:"ifName,omitempty"`
	// PodNamespace and PodName are empty for a container that is no pod.
	PodNamespace string `json:"podNamespace,omitempty"`
	PodName      string `json:"podName,omitempty"`
	PodUID       string `json:"podUID,omitempty"`
	// Port is the name of the OVS port (the veth's end on the host).
	Port string `json:"port,omitempty"`
	// OFPort is the OpenFlow port number.
	OFPort uint32 `json:"ofport"`
	// MAC is the pod's, in the form aa:bb:cc:dd:ee:ff.
	MAC string `json:"mac"`
	// MTU is what the cable was made with, in bytes; 0 if unknown.
	MTU       int          `json:"mtu,omitempty"`
	Addresses []netip.Addr `json:"addresses"`
	// HostPorts are the node's ports that lead to it, in the order of CompareHostPorts.
	HostPorts []HostPort `json:"hostPorts,omitempty"`
	// Created is when ADD plugged it, in nanoseconds since 1970, 0 if unknown.
	// It tells the newer of two sandboxes of one pod.
	Created int64 `json:"created,omitempty"`
}

// Of tells whether the attachment is one of this pod's. One of another UID is of the pod that had
// the name before.
func (a Attachment) Of(p Pod) bool {
	return p.Namespace == a.PodNamespace && p.Name == a.PodName && (p.UID == a.PodUID || p.UID == "" || a.PodUID == "")
}

// Stranger is the pod of an attachment on node, as far as it is known without its object: it has no
// labels.
func (a Attachment) Stranger(node string) Pod {
	return Pod{Namespace: a.PodNamespace, Name: a.PodName, UID: a.PodUID, Node: node}
}

// Facts are a node's own circumstances.
type Facts struct {
	// TunnelAddress is the local end of the tunnels: the node's first InternalIP that
	// is on this machine.
	TunnelAddress netip.Addr `json:"tunnelAddress,omitzero"`
	// OtherTunnelAddress is the first of the other family that is here, if any.
	OtherTunnelAddress netip.Addr `json:"otherTunnelAddress,omitzero"`
	// UnderlayDevice is the device that carries TunnelAddress.
	UnderlayDevice string `json:"underlayDevice,omitempty"`
	// UnderlayMTU is that device's MTU in bytes; the lesser one, if the other
	// address is on another device.
	UnderlayMTU int `json:"underlayMTU,omitempty"`
	// Datapath is "system" (kernel) or "netdev" (userspace).
	Datapath string `json:"datapath,omitempty"`
	// DatapathReason says why, in words.
	DatapathReason string `json:"datapathReason,omitempty"`
	// NativeDevices are the devices whose frames reach this machine's own stack
	// a second time because userspace OVS owns them (netdev datapath only).
	NativeDevices []string `json:"nativeDevices,omitempty"`
}

// Tunnels are the local ends of tunnels, one of each family that the underlay has here.
func (f Facts) Tunnels() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{f.TunnelAddress, f.OtherTunnelAddress} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// Config is what is chosen for the whole cluster; every node must have the same.
type Config struct {
	// Encapsulation is "geneve" (the default) or "vxlan".
	Encapsulation string `json:"encapsulation,omitempty"`
	// MTU of pods in bytes; 0 takes the underlay's less the encapsulation's overhead.
	MTU int `json:"mtu,omitempty"`
	// ClusterCIDRs hold all podCIDRs. Optional: what is in them and belongs to
	// no node is dropped instead of leaving by the default route.
	ClusterCIDRs []netip.Prefix `json:"clusterCIDRs,omitempty"`
	// ServiceCIDRs hold the Services' virtual addresses. Optional: with them what is sent to an
	// address of no Service is refused too, and the host has one route instead of one for each.
	ServiceCIDRs []netip.Prefix `json:"serviceCIDRs,omitempty"`
	// NoMasquerade leaves pods' own addresses on what leaves the cluster.
	NoMasquerade bool `json:"noMasquerade,omitempty"`
}

// Self is this node's own object; ok is false while it is not known.
func (s State) Self() (n Node, ok bool) {
	for _, n := range s.Nodes {
		if n.Name == s.Node {
			return n, true
		}
	}
	return Node{}, false
}
