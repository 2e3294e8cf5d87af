package source

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// AnnotationFault is set on a NetworkPolicy that Manifests prints in the stead of one that
// could not be understood: it says why.
const AnnotationFault = "sluice.dev/fault"

// PolicyAnnotations are those of a NetworkPolicy that state needs.
func PolicyAnnotations(all map[string]string) map[string]string {
	if fault, ok := all[AnnotationFault]; ok {
		return map[string]string{AnnotationFault: fault}
	}
	return nil
}

// NetworkPolicy keeps what state needs of a NetworkPolicy. There is no error: what cannot
// be understood is in the Fault, and the policy then allows nothing to the pods that it
// selects, rather than too much. faults are others that the caller has found.
func NetworkPolicy(p *networkingv1.NetworkPolicy, faults ...string) state.NetworkPolicy {
	f := faultList{list: faults}
	if fault := p.Annotations[AnnotationFault]; fault != "" {
		f.list = append(f.list, fault)
	}
	out := state.NetworkPolicy{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID),
		Selects: f.selector("spec.podSelector", &p.Spec.PodSelector),
		Types:   f.types(p.Spec.PolicyTypes),
	}
	for i, r := range p.Spec.Ingress {
		out.Ingress = append(out.Ingress, f.rule(fmt.Sprintf("spec.ingress[%d]", i), "from", r.From, r.Ports))
	}
	for i, r := range p.Spec.Egress {
		out.Egress = append(out.Egress, f.rule(fmt.Sprintf("spec.egress[%d]", i), "to", r.To, r.Ports))
	}
	f.atMost("spec.ingress", len(out.Ingress))
	f.atMost("spec.egress", len(out.Egress))
	if len(f.list) == 0 {
		return out
	}
	out.Fault = strings.Join(f.list, "; ")
	if len(out.Types) == 0 { // say what its rules said, before they go
		out.Types = []state.Direction{state.Ingress}
		if len(out.Egress) > 0 {
			out.Types = append(out.Types, state.Egress)
		}
	}
	out.Ingress, out.Egress = nil, nil
	return out
}

// faultList gathers what cannot be understood, each with its field.
type faultList struct{ list []string }

func (f *faultList) add(field, format string, args ...any) {
	f.list = append(f.list, field+": "+fmt.Sprintf(format, args...))
}

// atMost holds a policy to the rules that can be told from each other: an API server takes more if
// they are short.
func (f *faultList) atMost(field string, rules int) {
	if rules > flows.MaxPolicyRules {
		f.add(field, "%d rules, of which %d can be served", rules, flows.MaxPolicyRules)
	}
}

// types are the directions; both if one of them cannot be understood.
func (f *faultList) types(types []networkingv1.PolicyType) []state.Direction {
	var out []state.Direction
	for i, t := range types {
		switch d := state.Direction(t); d {
		case state.Ingress, state.Egress:
			out = append(out, d)
		default:
			f.add(fmt.Sprintf("spec.policyTypes[%d]", i), "%q is neither Ingress nor Egress", t)
			return []state.Direction{state.Ingress, state.Egress}
		}
	}
	return out
}

// selector reads a selector; one that cannot be understood selects everything.
func (f *faultList) selector(field string, s *metav1.LabelSelector) state.Selector {
	if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
		f.add(field, "%v", err)
		return state.Selector{}
	}
	out := state.Selector{Labels: maps.Clone(s.MatchLabels)}
	for _, e := range s.MatchExpressions {
		out.Requirements = append(out.Requirements, state.Requirement{
			Key: e.Key, Operator: state.Operator(e.Operator), Values: slices.Clone(e.Values),
		})
	}
	return out
}

func (f *faultList) rule(field, peersName string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) state.PolicyRule {
	var out state.PolicyRule
	for i, p := range peers {
		out.Peers = append(out.Peers, f.peer(fmt.Sprintf("%s.%s[%d]", field, peersName, i), p))
	}
	for i, p := range ports {
		out.Ports = append(out.Ports, f.port(fmt.Sprintf("%s.ports[%d]", field, i), p))
	}
	return out
}

func (f *faultList) peer(field string, p networkingv1.NetworkPolicyPeer) state.PolicyPeer {
	var out state.PolicyPeer
	if p.PodSelector != nil {
		s := f.selector(field+".podSelector", p.PodSelector)
		out.Pods = &s
	}
	if p.NamespaceSelector != nil {
		s := f.selector(field+".namespaceSelector", p.NamespaceSelector)
		out.Namespaces = &s
	}
	switch pods := out.Pods != nil || out.Namespaces != nil; {
	case p.IPBlock != nil && pods:
		f.add(field, "has an ipBlock and a selector, and can have one only")
	case p.IPBlock != nil:
		out.Block = f.block(field+".ipBlock", p.IPBlock)
	case !pods:
		f.add(field, "has neither podSelector, namespaceSelector nor ipBlock")
	}
	return out
}

func (f *faultList) block(field string, b *networkingv1.IPBlock) *state.IPBlock {
	cidr, err := parseCIDR(b.CIDR)
	if err != nil {
		f.add(field+".cidr", "%v", err)
		return nil
	}
	out := &state.IPBlock{CIDR: cidr}
	for i, text := range b.Except {
		except, err := parseCIDR(text)
		switch {
		case err != nil:
			f.add(fmt.Sprintf("%s.except[%d]", field, i), "%v", err)
		case except.Bits() <= cidr.Bits() || !cidr.Contains(except.Addr()):
			f.add(fmt.Sprintf("%s.except[%d]", field, i), "%q is not within %q", text, b.CIDR)
		default:
			out.Except = append(out.Except, except)
		}
	}
	return out
}

// parseCIDR takes bits behind the prefix, as the API server does, and drops them.
func parseCIDR(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no CIDR, expected one like 10.0.0.0/8 or 2001:db8::/32", text)
	}
	return p.Masked(), nil
}

func (f *faultList) port(field string, p networkingv1.NetworkPolicyPort) state.PolicyPort {
	var out state.PolicyPort
	if p.Protocol != nil {
		switch out.Protocol = state.Protocol(*p.Protocol); out.Protocol {
		case state.TCP, state.UDP, state.SCTP:
		default:
			f.add(field+".protocol", "%q is neither TCP, UDP nor SCTP", *p.Protocol)
		}
	}
	switch {
	case p.Port == nil:
	case p.Port.Type == intstr.String:
		out.Name = p.Port.StrVal
		if errs := validation.IsValidPortName(out.Name); len(errs) > 0 {
			f.add(field+".port", "%q is no port's name: %s", out.Name, strings.Join(errs, ", "))
		}
	case p.Port.IntVal < 1 || p.Port.IntVal > 65535:
		f.add(field+".port", "%d is no port, expected 1 to 65535", p.Port.IntVal)
	default:
		out.Number = uint16(p.Port.IntVal)
	}
	switch {
	case p.EndPort == nil:
	case out.Number == 0:
		f.add(field+".endPort", "needs a port with a number")
	case *p.EndPort < int32(out.Number) || *p.EndPort > 65535:
		f.add(field+".endPort", "%d is not from port %d to 65535", *p.EndPort, out.Number)
	default:
		out.End = uint16(*p.EndPort)
	}
	return out
}
