package state

import "net/netip"

// NetworkPolicy is a networking.k8s.io/v1 NetworkPolicy, as written: what is left out
// there is left out here, and means what the API says it means.
type NetworkPolicy struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	// Selects is spec.podSelector: of the pods in Namespace, those that it is about.
	Selects Selector `json:"selects,omitzero"`
	// Types is spec.policyTypes: Ingress, Egress. Empty if it was left out.
	Types   []Direction  `json:"types,omitempty"`
	Ingress []PolicyRule `json:"ingress,omitempty"`
	Egress  []PolicyRule `json:"egress,omitempty"`
	// Fault says why the policy cannot be understood, field by field. Whoever sets it
	// leaves no rule, so that the policy isolates and allows nothing; and selects
	// every pod of the namespace if it is the selector that cannot be understood.
	Fault string `json:"fault,omitempty"`
}

// Rules are those of the direction.
func (p NetworkPolicy) Rules(d Direction) []PolicyRule {
	if d == Egress {
		return p.Egress
	}
	return p.Ingress
}

// Direction is a policyType.
type Direction string

// The directions, in the API's words.
const (
	Ingress Direction = "Ingress"
	Egress  Direction = "Egress"
)

// PolicyRule allows what is from (or to) one of the peers and to one of the ports. No
// peers are all there are, and no ports are all ports of all protocols.
type PolicyRule struct {
	Peers []PolicyPeer `json:"peers,omitempty"`
	Ports []PolicyPort `json:"ports,omitempty"`
}

// PolicyPeer is either Block, or pods: those that Pods selects (all if nil) in the namespaces
// that Namespaces selects (the policy's own if nil).
type PolicyPeer struct {
	Pods       *Selector `json:"pods,omitempty"`
	Namespaces *Selector `json:"namespaces,omitempty"`
	Block      *IPBlock  `json:"block,omitempty"`
}

// IPBlock is a range of addresses, masked, without those in Except, which are within it.
type IPBlock struct {
	CIDR   netip.Prefix   `json:"cidr"`
	Except []netip.Prefix `json:"except,omitempty"`
}

// PolicyPort is a port by number (up to End, if that is not 0) or by name, or every port
// if neither is there.
type PolicyPort struct {
	// Protocol is TCP, UDP or SCTP; empty if it was left out, which means TCP.
	Protocol Protocol `json:"protocol,omitempty"`
	Number   uint16   `json:"number,omitempty"`
	End      uint16   `json:"end,omitempty"`
	Name     string   `json:"name,omitempty"`
}

// Protocol is a transport protocol in Kubernetes' words.
type Protocol string

// The protocols that a port can be of.
const (
	TCP  Protocol = "TCP"
	UDP  Protocol = "UDP"
	SCTP Protocol = "SCTP"
)

// Number is the protocol's in IP's header, 0 for what is none of these.
func (p Protocol) Number() uint64 {
	switch p {
	case TCP:
		return 6
	case UDP:
		return 17
	case SCTP:
		return 132
	}
	return 0
}

// Selector is a metav1.LabelSelector: all of it must hold, so that an empty one selects
// everything.
type Selector struct {
	Labels       map[string]string `json:"labels,omitempty"`
	Requirements []Requirement     `json:"requirements,omitempty"`
}

// Requirement is an element of matchExpressions.
type Requirement struct {
	Key      string   `json:"key"`
	Operator Operator `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// Operator of a Requirement.
type Operator string

// The operators. NotIn and DoesNotExist hold where the key is not there.
const (
	In           Operator = "In"
	NotIn        Operator = "NotIn"
	Exists       Operator = "Exists"
	DoesNotExist Operator = "DoesNotExist"
)

// NamedPort is a port that one of a pod's containers has given a name.
type NamedPort struct {
	Name     string   `json:"name"`
	Protocol Protocol `json:"protocol"`
	Port     uint16   `json:"port"`
}
