package source

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluice-cni/sluice/flows/state"
)

// policyManifest turns a policy back into one that NetworkPolicy reads to the same.
func policyManifest(p state.NetworkPolicy) *networkingv1.NetworkPolicy {
	out := &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: types.UID(p.UID)},
	}
	if p.Fault != "" {
		metav1.SetMetaDataAnnotation(&out.ObjectMeta, AnnotationFault, p.Fault)
	}
	out.Spec.PodSelector = *labelSelector(&p.Selects)
	for _, t := range p.Types {
		out.Spec.PolicyTypes = append(out.Spec.PolicyTypes, networkingv1.PolicyType(t))
	}
	for _, r := range p.Ingress {
		out.Spec.Ingress = append(out.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: policyPeers(r), Ports: policyPorts(r)})
	}
	for _, r := range p.Egress {
		out.Spec.Egress = append(out.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: policyPeers(r), Ports: policyPorts(r)})
	}
	return out
}

func labelSelector(s *state.Selector) *metav1.LabelSelector {
	if s == nil {
		return nil
	}
	out := &metav1.LabelSelector{MatchLabels: s.Labels}
	for _, r := range s.Requirements {
		out.MatchExpressions = append(out.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: r.Key, Operator: metav1.LabelSelectorOperator(r.Operator), Values: r.Values,
		})
	}
	return out
}

func policyPeers(r state.PolicyRule) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for _, p := range r.Peers {
		peer := networkingv1.NetworkPolicyPeer{PodSelector: labelSelector(p.Pods), NamespaceSelector: labelSelector(p.Namespaces)}
		if p.Block != nil {
			peer.IPBlock = &networkingv1.IPBlock{CIDR: p.Block.CIDR.String()}
			for _, e := range p.Block.Except {
				peer.IPBlock.Except = append(peer.IPBlock.Except, e.String())
			}
		}
		out = append(out, peer)
	}
	return out
}

func policyPorts(r state.PolicyRule) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for _, p := range r.Ports {
		var port networkingv1.NetworkPolicyPort
		if p.Protocol != "" {
			protocol := corev1.Protocol(p.Protocol)
			port.Protocol = &protocol
		}
		switch {
		case p.Name != "":
			name := intstr.FromString(p.Name)
			port.Port = &name
		case p.Number != 0:
			number := intstr.FromInt32(int32(p.Number))
			port.Port = &number
		}
		if p.End != 0 {
			end := int32(p.End)
			port.EndPort = &end
		}
		out = append(out, port)
	}
	return out
}
