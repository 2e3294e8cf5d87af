package state

import "net/netip"

// Service is a Kubernetes Service that has virtual addresses: neither a headless one nor an
// ExternalName, which have none, is in a State.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	// ClusterIPs are spec.clusterIPs, in the object's order: of one family or both.
	ClusterIPs []netip.Addr  `json:"clusterIPs,omitempty"`
	Ports      []ServicePort `json:"ports,omitempty"`
	// InternalLocal is internalTrafficPolicy Local: clients are served by backends of their own
	// node or by none.
	InternalLocal bool `json:"internalLocal,omitempty"`
	// Affinity is for how many seconds a client's connections stay with one backend
	// (sessionAffinity ClientIP); 0 is none.
	Affinity int32 `json:"affinity,omitempty"`
	// PublishNotReady is publishNotReadyAddresses: whether a backend is ready does not count.
	PublishNotReady bool `json:"publishNotReady,omitempty"`
	// TrafficDistribution is spec.trafficDistribution, as written.
	TrafficDistribution string `json:"trafficDistribution,omitempty"`
	// Deleting is set once the object has a deletion timestamp.
	Deleting bool `json:"deleting,omitempty"`
	// Created is metadata.creationTimestamp in seconds since 1970, 0 if unknown.
	Created int64 `json:"created,omitempty"`
}

// ServicePort is one port of a Service's virtual addresses. Name is empty if there is only one.
type ServicePort struct {
	Name     string   `json:"name,omitempty"`
	Protocol Protocol `json:"protocol"`
	Port     uint16   `json:"port"`
}

// EndpointSlice is a Kubernetes EndpointSlice of a Service: backends of one address family.
type EndpointSlice struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Service is the name of the Service that it is of (label kubernetes.io/service-name), in
	// the same namespace.
	Service   string         `json:"service"`
	Ports     []EndpointPort `json:"ports,omitempty"`
	Endpoints []Endpoint     `json:"endpoints,omitempty"`
}

// EndpointPort is where each of a slice's backends serves the Service's port of the same name and
// protocol.
type EndpointPort struct {
	Name     string   `json:"name,omitempty"`
	Protocol Protocol `json:"protocol"`
	Port     uint16   `json:"port"`
}

// Endpoint is one backend. Its conditions are those that count: an absent ready or serving is true.
type Endpoint struct {
	// Address is the first of the object's addresses: they are all the same backend's.
	Address     netip.Addr `json:"address"`
	Ready       bool       `json:"ready,omitempty"`
	Serving     bool       `json:"serving,omitempty"`
	Terminating bool       `json:"terminating,omitempty"`
	// Node is the node that it is on, Zone that node's topology zone; empty if unknown.
	Node string `json:"node,omitempty"`
	Zone string `json:"zone,omitempty"`
	// ForZones and ForNodes are the hints: from where it should be used. Empty are none.
	ForZones []string `json:"forZones,omitempty"`
	ForNodes []string `json:"forNodes,omitempty"`
	// PodNamespace and PodName are of the pod that it is, if it is one.
	PodNamespace string `json:"podNamespace,omitempty"`
	PodName      string `json:"podName,omitempty"`
}
