package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// block is what is called for a direction of a policy: its rules, with the names of ports looked
// up in the pods that it is called for.
type block struct {
	policy    *state.NetworkPolicy
	direction state.Direction
	// ports are the numbers of the ports that ingress rules name, 0 where the pods
	// have no such port.
	ports map[portName]uint16
	// name is of the policy, the direction and the ports.
	name string
}

// blockFor a pod that the policy selects.
func blockFor(p *state.NetworkPolicy, d state.Direction, pod state.Pod) block {
	b := block{policy: p, direction: d, ports: map[portName]uint16{}}
	if d == state.Ingress {
		for _, r := range p.Ingress {
			for _, port := range r.Ports {
				if port.Name != "" {
					b.ports[nameOf(port)] = resolve(pod, nameOf(port))
				}
			}
		}
	}
	var ports []string
	for n, number := range b.ports {
		ports = append(ports, fmt.Sprintf("%s/%s=%d", n.name, n.protocol, number))
	}
	slices.Sort(ports)
	b.name = strings.Join(append([]string{fmt.Sprintf("NetworkPolicy/%s/%s/%s", p.Namespace, p.Name, d)}, ports...), " ")
	return b
}

// prioRules is the priority of a policy's first rule; each further rule is one lower.
const prioRules = 60000

// emit makes the block's flows: for each rule those of one priority.
func (b block) emit(c *compiler, e *emitter) {
	number := uint64(c.blocks[b.name])
	for i, r := range b.policy.Rules(b.direction) {
		if i >= flows.MaxPolicyRules {
			break // whoever reads policies leaves none that has so many
		}
		rule := flows.PolicyRule(b.direction == state.Egress, i)
		head := flows.Match{}.Is(flows.RegPolicy, flows.Uint(number)).Is(flows.RegVerdict, flows.Uint(flows.Undecided))
		at := func(m flows.Match, a flows.Action) { e.flow(flows.Policies, prioRules-uint16(i), rule, m, a) }
		accept := flows.Set(flows.RegVerdict, flows.Uint(flows.Accept))
		who, which := c.peerMatches(b, r), b.portMatches(r)
		if len(r.Ports) == 0 {
			which = []flows.Match{nil}
		}
		if len(who)*len(which) <= len(who)+len(which)+1 {
			for _, w := range who {
				for _, p := range which {
					if m, ok := both(both2(head, w), p); ok {
						at(m, accept)
					}
				}
			}
		} else {
			id := uint32(i + 1)
			for _, w := range who {
				at(both2(head, w), flows.Conjunction{ID: id, Clause: 1, Clauses: 2})
			}
			for _, p := range which {
				at(both2(head, p), flows.Conjunction{ID: id, Clause: 2, Clauses: 2})
			}
			at(head.Is(flows.ConjID, flows.Uint(uint64(id))), accept)
		}
		for _, m := range c.namedMatches(b, r) {
			at(both2(head, m), accept)
		}
	}
}

// peerMatches are the conditions on the other end: any of them will do.
func (c *compiler) peerMatches(b block, r state.PolicyRule) []flows.Match {
	if len(r.Peers) == 0 {
		return []flows.Match{nil}
	}
	out := map[string]flows.Match{}
	add := func(m flows.Match) { out[m.String()] = m }
	for _, p := range r.Peers {
		if p.Block == nil {
			for _, m := range c.selected(b.policy.Namespace, p) {
				add(m)
			}
			continue
		}
		for _, prefix := range prefixes(*p.Block) {
			add(fromPrefix(prefix))
		}
	}
	return inOrder(out)
}

// selected are the conditions that selectors stand for, in a policy of a namespace.
func (c *compiler) selected(namespace string, p state.PolicyPeer) []flows.Match {
	return c.selection(peerName(namespace, p), namespacedPeer{namespace, p}).matches
}

// selection is what a peer stands for; many rules name the same.
func (c *compiler) selection(name string, p namespacedPeer) *selection {
	have, ok := c.memo.selections[name]
	if ok && have.fresh {
		return have
	}
	matches := c.find(p)
	if ok && slices.EqualFunc(have.matches, matches, flows.Match.Equal) {
		have.fresh = true
		return have
	}
	out := &selection{matches, true}
	c.memo.selections[name] = out
	return out
}

// find finds a peer's conditions, in their order.
func (c *compiler) find(p namespacedPeer) []flows.Match {
	out := map[string]flows.Match{}
	add := func(m flows.Match) { out[m.String()] = m }
	switch all := p.peer.Pods == nil || everything(p.peer.Pods); {
	case all && everything(p.peer.Namespaces):
		add(flows.Match{}.Masked(flows.RegNamespace, flows.Uint(flows.NamespaceIsPod), flows.Uint(flows.NamespaceIsPod)))
	case all:
		for other, number := range c.namespaces {
			if c.inNamespace(p.namespace, p.peer, other) {
				add(flows.Match{}.Is(flows.RegNamespace, flows.Uint(flows.NamespaceIsPod|uint64(number))))
			}
		}
	default:
		for _, i := range c.identities {
			if c.isPeer(p.namespace, p.peer, i) {
				add(c.fromIdentity(i))
			}
		}
	}
	return inOrder(out)
}

// namedMatches are those of an egress rule's ports that have names: a pod's number is asked of
// that pod.
func (c *compiler) namedMatches(b block, r state.PolicyRule) []flows.Match {
	out := map[string]flows.Match{}
	for _, port := range r.Ports {
		if port.Name == "" || b.direction != state.Egress {
			continue
		}
		for _, i := range c.identities {
			number, ok := i.ports[nameOf(port)]
			if !ok {
				continue
			}
			for _, who := range c.identityMatches(b, r, i) {
				for _, which := range portMatches(protocolOf(port), []portMask{{number, 0xffff}}) {
					if m, ok := both(who, which); ok {
						out[m.String()] = m
					}
				}
			}
		}
	}
	return inOrder(out)
}

// identityMatches are the conditions under which pods of an identity are the rule's peers.
func (c *compiler) identityMatches(b block, r state.PolicyRule, i identity) []flows.Match {
	from := c.fromIdentity(i)
	if len(r.Peers) == 0 {
		return []flows.Match{from}
	}
	var out []flows.Match
	for _, p := range r.Peers {
		if p.Block == nil {
			if c.isPeer(b.policy.Namespace, p, i) {
				return []flows.Match{from}
			}
			continue
		}
		for _, prefix := range prefixes(*p.Block) {
			out = append(out, both2(from, fromPrefix(prefix)))
		}
	}
	return out
}

func (c *compiler) isPeer(namespace string, p state.PolicyPeer, i identity) bool {
	return c.inNamespace(namespace, p, i.namespace) && (p.Pods == nil || matches(*p.Pods, i.labels))
}

// inNamespace tells whether a peer in a policy of a namespace is about pods of another.
func (c *compiler) inNamespace(own string, p state.PolicyPeer, other string) bool {
	if p.Namespaces == nil {
		return other == own
	}
	return matches(*p.Namespaces, c.namespaceLabels(other))
}

func (c *compiler) fromIdentity(i identity) flows.Match {
	return flows.Match{}.Is(flows.RegIdentity, flows.Uint(uint64(c.identityNumbers[i.name])))
}

func inOrder(m map[string]flows.Match) []flows.Match {
	var out []flows.Match
	for _, text := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[text])
	}
	return out
}
