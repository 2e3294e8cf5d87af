package verdict

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows/state"
)

// Connection is what is judged: who opens it, and to whom.
type Connection struct {
	Source, Destination netip.Addr
	// Protocol is TCP, UDP or SCTP; anything else has no port.
	Protocol state.Protocol
	Port     uint16
}

// Verdict is what becomes of a connection: both sides must allow it.
type Verdict struct {
	Allowed bool
	// Egress is the source's side, Ingress the destination's.
	Egress, Ingress Side
}

// Side is one side's verdict.
type Side struct {
	Allowed bool
	// Pod is whose side it is, as namespace/name; empty if the address is no pod's.
	Pod string
	// Policies are those that select the pod for this direction, in the order of
	// their names, each with what it says.
	Policies []Opinion
	// By is the rule that allows, the first if there are several; nil if none was needed
	// or none does.
	By *RuleName
	// Reason says it in words.
	Reason string
}

// RuleName names a rule of a policy.
type RuleName struct {
	// Policy is namespace/name.
	Policy    string
	Direction state.Direction
	// Index counts from 0, as in spec.ingress[0].
	Index int
}

// Opinion is what one policy says about the connection.
type Opinion struct {
	Policy string
	// Fault is the policy's, if it cannot be understood.
	Fault string
	// Rules say of each rule of the direction why it allows the connection or does not.
	Rules []RuleOpinion
}

// RuleOpinion is what one rule says.
type RuleOpinion struct {
	Allows bool
	// Why is in words.
	Why string
}

// Judge says what becomes of the connection in the cluster s, on whatever node. Whether
// anything listens, or routes lead there, it does not ask.
func Judge(s state.State, c Connection) Verdict {
	source, destination := find(s, c.Source), find(s, c.Destination)
	var v Verdict
	if reason := exempt(s, source, destination); reason != "" {
		v.Egress = Side{Allowed: true, Pod: source.name(), Reason: reason}
		v.Ingress = Side{Allowed: true, Pod: destination.name(), Reason: reason}
	} else {
		v.Egress = side(s, state.Egress, source, destination, c, destination)
		v.Ingress = side(s, state.Ingress, destination, source, c, destination)
	}
	v.Allowed = v.Egress.Allowed && v.Ingress.Allowed
	return v
}

// exempt says why no policy is asked, empty if they are.
func exempt(s state.State, source, destination end) string {
	if source.address == destination.address {
		return "it is the same address: a pod always reaches itself"
	}
	if source.pod != nil && source.pod == destination.pod {
		return "a pod always reaches itself"
	}
	for _, pair := range [][2]end{{source, destination}, {destination, source}} {
		pod, node, other := pair[0].pod, pair[0].node, pair[1]
		if pod != nil && other.pod == nil && slices.Contains(addressesOf(s, node), other.address) {
			return "a pod and its own node (" + node + ") always reach each other"
		}
	}
	return ""
}

// side judges one side: self is whose policies are asked, other the far end.
func side(s state.State, d state.Direction, self, other end, c Connection, destination end) Side {
	out := Side{Pod: self.name()}
	if self.pod == nil {
		out.Allowed, out.Reason = true, self.address.String()+" is no pod's address, so no policy selects it"
		return out
	}
	for _, p := range policiesFor(s, *self.pod, d) {
		o := opinion(s, p, d, other, c, destination)
		for i, r := range o.Rules {
			if r.Allows && out.By == nil {
				out.By = &RuleName{o.Policy, d, i}
			}
		}
		out.Policies = append(out.Policies, o)
	}
	switch {
	case len(out.Policies) == 0:
		out.Allowed, out.Reason = true, "no policy selects it for "+word(d)
	case out.By != nil:
		out.Allowed, out.Reason = true, out.By.String()+" allows it"
	default:
		out.Reason = "isolated for " + word(d) + " by " + names(out.Policies) + ", and no rule allows it"
	}
	return out
}

// policiesFor are those that select the pod and are about the direction, in the order of
// their names.
func policiesFor(s state.State, pod state.Pod, d state.Direction) []state.NetworkPolicy {
	var out []state.NetworkPolicy
	for _, p := range s.NetworkPolicies {
		if Selects(p, pod) && slices.Contains(Directions(p), d) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b state.NetworkPolicy) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Selects tells whether a policy is about a pod: one of its own namespace that its selector
// matches. It is about none on the host's network.
func Selects(p state.NetworkPolicy, pod state.Pod) bool {
	return !pod.HostNetwork && p.Namespace == pod.Namespace && matches(p.Selects, pod.Labels)
}

// Directions are those that a policy isolates: as it says, or if it says nothing ingress
// always and egress if it has egress rules.
func Directions(p state.NetworkPolicy) []state.Direction {
	if len(p.Types) > 0 {
		return p.Types
	}
	if len(p.Egress) > 0 {
		return []state.Direction{state.Ingress, state.Egress}
	}
	return []state.Direction{state.Ingress}
}

func opinion(s state.State, p state.NetworkPolicy, d state.Direction, other end, c Connection, destination end) Opinion {
	out := Opinion{Policy: p.Namespace + "/" + p.Name, Fault: p.Fault}
	for _, r := range p.Rules(d) {
		out.Rules = append(out.Rules, ruleOpinion(s, p, d, r, other, c, destination))
	}
	return out
}

// ruleOpinion: a rule allows what matches one of its peers and one of its ports.
func ruleOpinion(s state.State, p state.NetworkPolicy, d state.Direction, r state.PolicyRule, other end, c Connection, destination end) RuleOpinion {
	peer, whyPeer := anyPeer(s, p, r, other)
	port, whyPort := anyPort(r, c, destination)
	switch {
	case !peer:
		return RuleOpinion{Why: whyPeer}
	case !port:
		return RuleOpinion{Why: whyPort}
	}
	preposition := "from "
	if d == state.Egress {
		preposition = "to "
	}
	return RuleOpinion{Allows: true, Why: preposition + whyPeer + ", " + whyPort}
}
