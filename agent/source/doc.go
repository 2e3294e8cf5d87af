// Package source is where state comes from: the cluster's objects, turned into
// package state's small types. Kubernetes' own types stop here.
//
// Two sources stand behind one interface: manifests.Dir reads a directory of
// ordinary Kubernetes YAML, kube.Cluster watches an API server.
package source

import (
	"context"
	"net/netip"

	"github.com/sluice-cni/sluice/flows/state"
)

// Objects are the cluster's objects as last known, in no order.
type Objects struct {
	Namespaces []state.Namespace
	Nodes      []state.Node
	Pods       []state.Pod
	// NetworkPolicies are all, those that cannot be understood too: see state.NetworkPolicy.
	NetworkPolicies []state.NetworkPolicy
	// Services are those that have virtual addresses, EndpointSlices those of any Service.
	Services       []state.Service
	EndpointSlices []state.EndpointSlice
}

// Within is the state with these as its objects.
func (o Objects) Within(s state.State) state.State {
	s.Namespaces, s.Nodes, s.Pods, s.NetworkPolicies = o.Namespaces, o.Nodes, o.Pods, o.NetworkPolicies
	s.Services, s.EndpointSlices = o.Services, o.EndpointSlices
	return s
}

// ObjectsOf are those of a state.
func ObjectsOf(s state.State) Objects {
	return Objects{
		Namespaces: s.Namespaces, Nodes: s.Nodes, Pods: s.Pods, NetworkPolicies: s.NetworkPolicies,
		Services: s.Services, EndpointSlices: s.EndpointSlices,
	}
}

// Snapshot is what a source knows at one moment.
type Snapshot struct {
	// Objects are the last good ones: what could not be read leaves them as they were. A list
	// in which nothing has changed is the same slice as in the snapshot before.
	Objects Objects
	// Synced is false until the source has been read whole once; Objects say nothing before.
	Synced bool
	// Version names Objects, Seen what was last found, readable or not. They are
	// opaque and equal when Objects are all there is.
	Version, Seen string
	// Errors are what could not be read, each with its place.
	Errors []string
}

// Source is a place where objects come from.
type Source interface {
	// Run watches until ctx ends. It returns an error only for what will never get
	// better; all else is in the Snapshot.
	Run(ctx context.Context) error
	// Snapshot is what is known now. It may be called at any time.
	Snapshot() Snapshot
	// Changed gets a value after the snapshot has changed; several changes may be one value.
	Changed() <-chan struct{}
	// String says what it is, for people: "manifests /etc/sluice", "kubernetes https://…".
	String() string
}

// Remote is a Source on another machine, or elsewhere on this one.
type Remote interface {
	// Server is the address by which it is reached; not valid if that is a name.
	Server() netip.Addr
}

// Knower is a Source that can be asked for a Pod of which it has not heard yet.
type Knower interface {
	// Know returns when the Pod is in the snapshot, or why it cannot be there. A Pod
	// that is there with that uid costs nothing.
	Know(ctx context.Context, namespace, name, uid string) error
}
