package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-cni/sluice/flows/state"
)

func word(d state.Direction) string { return strings.ToLower(string(d)) }

// String names the rule as its field in the policy.
func (r RuleName) String() string {
	return fmt.Sprintf("%s spec.%s[%d]", r.Policy, word(r.Direction), r.Index)
}

func names(policies []Opinion) string {
	var out []string
	for _, p := range policies {
		name := p.Policy
		if p.Fault != "" {
			name += " (which cannot be understood: " + p.Fault + ")"
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}

func connectionWords(c Connection) string {
	switch c.Protocol {
	case state.TCP, state.UDP, state.SCTP:
		return fmt.Sprintf("%d/%s", c.Port, c.Protocol)
	}
	return string(c.Protocol)
}

func peersWords(p state.NetworkPolicy, peers []state.PolicyPeer) string {
	var out []string
	for _, peer := range peers {
		out = append(out, peerWords(p, peer))
	}
	return strings.Join(out, "; or ")
}

func peerWords(p state.NetworkPolicy, peer state.PolicyPeer) string {
	if b := peer.Block; b != nil {
		text := b.CIDR.String()
		for i, e := range b.Except {
			if i == 0 {
				text += " except "
			} else {
				text += ", "
			}
			text += e.String()
		}
		return text
	}
	pods := "all pods"
	if peer.Pods != nil && !empty(*peer.Pods) {
		pods = "pods with " + SelectorWords(*peer.Pods)
	}
	switch {
	case peer.Namespaces == nil:
		return pods + " in namespace " + p.Namespace
	case empty(*peer.Namespaces):
		return pods + " in all namespaces"
	}
	return pods + " in namespaces with " + SelectorWords(*peer.Namespaces)
}

func empty(s state.Selector) bool { return len(s.Labels) == 0 && len(s.Requirements) == 0 }

// SelectorWords is a selector as kubectl takes it: app=web,tier in (a,b).
func SelectorWords(s state.Selector) string {
	if empty(s) {
		return "everything"
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(s.Labels)) {
		out = append(out, key+"="+s.Labels[key])
	}
	for _, r := range s.Requirements {
		switch r.Operator {
		case state.In:
			out = append(out, r.Key+" in ("+strings.Join(r.Values, ",")+")")
		case state.NotIn:
			out = append(out, r.Key+" notin ("+strings.Join(r.Values, ",")+")")
		case state.Exists:
			out = append(out, r.Key)
		case state.DoesNotExist:
			out = append(out, "!"+r.Key)
		}
	}
	return strings.Join(out, ",")
}

func portsWords(ports []state.PolicyPort) string {
	var out []string
	for _, p := range ports {
		out = append(out, portWords(p))
	}
	return strings.Join(out, ", ")
}

func portWords(p state.PolicyPort) string {
	port := "any"
	switch {
	case p.Name != "":
		port = p.Name
	case p.End != 0:
		port = fmt.Sprintf("%d-%d", p.Number, p.End)
	case p.Number != 0:
		port = fmt.Sprint(p.Number)
	}
	return port + "/" + string(protocolOf(p))
}
