package verdict

import (
	"slices"

	"github.com/sluice-cni/sluice/flows/state"
)

// matches tells whether labels are what a selector selects: all of it must hold.
func matches(s state.Selector, labels map[string]string) bool {
	for key, want := range s.Labels {
		if value, there := labels[key]; !there || value != want {
			return false
		}
	}
	for _, r := range s.Requirements {
		if !holds(r, labels) {
			return false
		}
	}
	return true
}

func holds(r state.Requirement, labels map[string]string) bool {
	value, there := labels[r.Key]
	switch r.Operator {
	case state.In:
		return there && slices.Contains(r.Values, value)
	case state.NotIn:
		return !there || !slices.Contains(r.Values, value)
	case state.Exists:
		return there
	case state.DoesNotExist:
		return !there
	}
	return false
}

// anyPeer tells whether the other end is one of the rule's peers, and says which, or why it
// is none. A rule without peers is for everyone.
func anyPeer(s state.State, p state.NetworkPolicy, r state.PolicyRule, other end) (ok bool, why string) {
	if len(r.Peers) == 0 {
		return true, "anywhere"
	}
	for _, peer := range r.Peers {
		if isPeer(s, p, peer, other) {
			return true, peerWords(p, peer)
		}
	}
	return false, other.String() + " is none of its peers: " + peersWords(p, r.Peers)
}

// isPeer: an ipBlock is about the address, whosever it is. Selectors are about pods: both of
// them must hold, one that is left out is all pods, or the policy's own namespace.
func isPeer(s state.State, p state.NetworkPolicy, peer state.PolicyPeer, other end) bool {
	if b := peer.Block; b != nil {
		if !b.CIDR.Contains(other.address) {
			return false
		}
		for _, e := range b.Except {
			if e.Contains(other.address) {
				return false
			}
		}
		return true
	}
	if !other.living() {
		return false
	}
	if peer.Namespaces != nil {
		if !matches(*peer.Namespaces, namespaceLabels(s, other.pod.Namespace)) {
			return false
		}
	} else if other.pod.Namespace != p.Namespace {
		return false
	}
	return peer.Pods == nil || matches(*peer.Pods, other.pod.Labels)
}

// anyPort tells whether the connection is to one of the rule's ports. A rule without ports is
// for all of them, and for what has no ports.
func anyPort(r state.PolicyRule, c Connection, destination end) (ok bool, why string) {
	if len(r.Ports) == 0 {
		return true, "any port"
	}
	for _, p := range r.Ports {
		if isPort(p, c, destination) {
			return true, "port " + portWords(p)
		}
	}
	why = connectionWords(c) + " is none of its ports: " + portsWords(r.Ports)
	for _, p := range r.Ports {
		if p.Name != "" && !hasPort(destination, p) {
			why += " (" + destination.String() + " has no port of the name " + p.Name + " for " + string(protocolOf(p)) + ")"
		}
	}
	return false, why
}

func isPort(p state.PolicyPort, c Connection, destination end) bool {
	if c.Protocol != protocolOf(p) {
		return false
	}
	switch {
	case p.Name != "":
		number, ok := resolve(destination, p)
		return ok && c.Port == number
	case p.Number == 0:
		return true
	case p.End != 0:
		return p.Number <= c.Port && c.Port <= p.End
	}
	return c.Port == p.Number
}

// protocolOf a port: TCP if it does not say.
func protocolOf(p state.PolicyPort) state.Protocol {
	if p.Protocol == "" {
		return state.TCP
	}
	return p.Protocol
}

// resolve looks a port's name up in the destination pod: the first of that name and
// protocol. What is no pod has no names.
func resolve(destination end, p state.PolicyPort) (number uint16, ok bool) {
	if !destination.living() {
		return 0, false
	}
	for _, named := range destination.pod.Ports {
		if named.Name == p.Name && named.Protocol == protocolOf(p) {
			return named.Port, true
		}
	}
	return 0, false
}

func hasPort(destination end, p state.PolicyPort) bool {
	_, ok := resolve(destination, p)
	return ok
}
