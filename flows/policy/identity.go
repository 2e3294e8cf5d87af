package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cni/sluice/flows/state"
)

// portName is a port that a rule names.
type portName struct {
	name     string
	protocol state.Protocol
}

func nameOf(p state.PolicyPort) portName { return portName{p.Name, protocolOf(p)} }

func protocolOf(p state.PolicyPort) state.Protocol {
	if p.Protocol == "" {
		return state.TCP
	}
	return p.Protocol
}

// resolve is the number of the first port of the pod that has the name, 0 if none has. A pod
// that has finished has none.
func resolve(p state.Pod, n portName) uint16 {
	if p.Finished {
		return 0
	}
	for _, port := range p.Ports {
		if port.Name == n.name && port.Protocol == n.protocol {
			return port.Port
		}
	}
	return 0
}

// mentioned is what the compiled policies ask of pods at the other end.
type mentioned struct {
	// peers are those that are selectors, by peerName.
	peers map[string]namespacedPeer
	keys  map[string]bool
	ports map[portName]bool
}

// namespacedPeer is a peer in a policy of a namespace.
type namespacedPeer struct {
	namespace string
	peer      state.PolicyPeer
}

func newMentioned() mentioned {
	return mentioned{map[string]namespacedPeer{}, map[string]bool{}, map[portName]bool{}}
}

// add adds what a rule mentions, of a policy of the namespace.
func (m mentioned) add(namespace string, d state.Direction, r state.PolicyRule) {
	for _, p := range r.Peers {
		if p.Block == nil {
			m.peers[peerName(namespace, p)] = namespacedPeer{namespace, p}
			keys(p.Pods, m.keys)
		}
	}
	for _, p := range r.Ports {
		if p.Name != "" && d == state.Egress {
			m.ports[nameOf(p)] = true
		}
	}
}

func (m mentioned) addAll(other mentioned) {
	maps.Copy(m.peers, other.peers)
	maps.Copy(m.keys, other.keys)
	maps.Copy(m.ports, other.ports)
}

// identity is all that the compiled policies ask of a pod: pods of one identity are alike to
// them.
type identity struct {
	namespace string
	labels    map[string]string
	ports     map[portName]uint16
	// name is the identity's own, equal for equal ones.
	name string
}

func (m mentioned) identity(p state.Pod) identity {
	out := identity{namespace: p.Namespace, labels: map[string]string{}, ports: map[portName]uint16{}}
	for key := range m.keys {
		if value, ok := p.Labels[key]; ok {
			out.labels[key] = value
		}
	}
	for name := range m.ports {
		if n := resolve(p, name); n != 0 {
			out.ports[name] = n
		}
	}
	ports := map[string]string{}
	for n, number := range out.ports {
		ports[n.name+"/"+string(n.protocol)] = strconv.Itoa(int(number))
	}
	out.name = fmt.Sprintf("%q %s %s", out.namespace, quoted(out.labels), quoted(ports))
	return out
}

// labelSetName is that of all labels and named ports of a pod: it does not depend on what
// is mentioned.
func labelSetName(p state.Pod) string {
	var ports []string
	for _, n := range p.Ports {
		ports = append(ports, fmt.Sprintf("%q/%s=%d", n.Name, n.Protocol, n.Port))
	}
	return fmt.Sprintf("%q %s %s", p.Namespace, quoted(p.Labels), strings.Join(ports, ","))
}

// peerName is equal for peers that select the same pods.
func peerName(namespace string, p state.PolicyPeer) string {
	if p.Namespaces != nil {
		namespace = "" // it does not matter
	}
	return fmt.Sprintf("%q %s %s", namespace, selectorName(p.Namespaces), selectorName(p.Pods))
}

func selectorName(s *state.Selector) string {
	if s == nil {
		return "-"
	}
	out := quoted(s.Labels)
	for _, r := range s.Requirements {
		out += fmt.Sprintf(" %q %s %q", r.Key, r.Operator, r.Values)
	}
	return out
}

func quoted(m map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%q=%q", key, m[key]))
	}
	return "{" + strings.Join(out, ",") + "}"
}
