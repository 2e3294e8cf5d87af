package claims

import (
	"cmp"
	"strings"

	"github.com/sluice-cni/sluice/flows/state"
)

// Kinds of objects that claim.
const (
	KindNode = "Node"
	KindPod  = "Pod"
	// KindContainer is an attachment that is no pod's; Kubernetes knows nothing of it.
	KindContainer = "Container"
	KindPolicy    = "NetworkPolicy"
	KindService   = "Service"
)

// Object names who claims.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	// Name of a container is its network/id/interface.
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
}

// String is the name, with the namespace if there is one.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Name
	}
	return o.Namespace + "/" + o.Name
}

// objectOf is the pod whose attachment it is, since that is known offline too, or the
// container.
func objectOf(a state.Attachment) Object {
	if a.PodName == "" {
		return Object{Kind: KindContainer, Name: a.Network + "/" + a.ContainerID + "/" + a.IfName}
	}
	return Object{Kind: KindPod, Namespace: a.PodNamespace, Name: a.PodName, UID: a.PodUID}
}

// What is claimed.
const (
	OnPodCIDR = "podCIDR"
	OnAddress = "address"
	OnPort    = "port"
	// OnServiceAddress is a virtual address and port.
	OnServiceAddress = "service address"
	// OnHostPort is a port of the node's that leads to a pod.
	OnHostPort = "host port"
	// OnMAC is no claim of two: the attachment has a MAC that cannot be read.
	OnMAC = "MAC"
	// OnPolicies and OnFault are none either: a pod that more policies select than a packet
	// can be judged by, and a policy that cannot be understood.
	OnPolicies = "policies"
	OnFault    = "policy"
)

// Conflict is a claim that is not served. It is comparable: two renders in which it
// stands have the same one.
type Conflict struct {
	// On is the kind of key, Key what is claimed, as text.
	On  string `json:"on"`
	Key string `json:"key"`
	// Loser goes without; Winner has the key. There is no Winner of what is no claim.
	Loser  Object `json:"loser"`
	Winner Object `json:"winner,omitzero"`
}

// CompareConflicts is an order of conflicts: by what is claimed, then by who loses.
func CompareConflicts(a, b Conflict) int {
	return cmp.Or(strings.Compare(a.On, b.On), strings.Compare(a.Key, b.Key), strings.Compare(a.Loser.String(), b.Loser.String()))
}

// String says it in words.
func (c Conflict) String() string {
	switch c.On {
	case OnPodCIDR:
		return "podCIDR " + c.Key + ": node " + c.Loser.String() + " loses it to node " + c.Winner.String()
	case OnMAC:
		return "pod " + c.Loser.String() + ": address " + c.Key + ": invalid MAC address"
	case OnPolicies:
		return "pod " + c.Loser.String() + ": selected by too many policies (" + c.Key + "): denied whole in that direction"
	case OnFault:
		return "NetworkPolicy " + c.Loser.String() + " cannot be understood and allows nothing: " + c.Key
	default:
		if c.Loser == c.Winner {
			return c.On + " " + c.Key + ": " + c.Loser.String() + " loses it to a newer sandbox of its own"
		}
		return c.On + " " + c.Key + ": " + c.Loser.String() + " loses it to " + c.Winner.String()
	}
}
