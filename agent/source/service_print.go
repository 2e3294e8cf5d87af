package source

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-cni/sluice/flows/state"
)

// serviceManifest turns a Service back into one that Service reads to the same.
func serviceManifest(s state.Service, meta metav1.ObjectMeta) *corev1.Service {
	out := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta,
		Spec: corev1.ServiceSpec{PublishNotReadyAddresses: s.PublishNotReady, TrafficDistribution: orNil(s.TrafficDistribution)},
	}
	for _, a := range s.ClusterIPs {
		out.Spec.ClusterIPs = append(out.Spec.ClusterIPs, a.String())
	}
	for _, p := range s.Ports {
		out.Spec.Ports = append(out.Spec.Ports, corev1.ServicePort{Name: p.Name, Protocol: corev1.Protocol(p.Protocol), Port: int32(p.Port)})
	}
	if s.InternalLocal {
		local := corev1.ServiceInternalTrafficPolicyLocal
		out.Spec.InternalTrafficPolicy = &local
	}
	if s.Affinity != 0 {
		out.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		out.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &s.Affinity}}
	}
	return out
}

// sliceManifest turns an EndpointSlice back into one that EndpointSlice reads to the same.
func sliceManifest(s state.EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: s.Name, Labels: map[string]string{discoveryv1.LabelServiceName: s.Service},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, p := range s.Ports {
		number, protocol := int32(p.Port), corev1.Protocol(p.Protocol)
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: orNil(p.Name), Protocol: &protocol, Port: &number})
	}
	for _, e := range s.Endpoints {
		if e.Address.Is6() {
			out.AddressType = discoveryv1.AddressTypeIPv6
		}
		out.Endpoints = append(out.Endpoints, endpointManifest(e))
	}
	return out
}

func endpointManifest(e state.Endpoint) discoveryv1.Endpoint {
	out := discoveryv1.Endpoint{
		Addresses:  []string{e.Address.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &e.Ready, Serving: &e.Serving},
		NodeName:   orNil(e.Node), Zone: orNil(e.Zone),
	}
	if e.Terminating {
		out.Conditions.Terminating = &e.Terminating
	}
	if len(e.ForZones)+len(e.ForNodes) > 0 {
		out.Hints = new(discoveryv1.EndpointHints)
	}
	for _, z := range e.ForZones {
		out.Hints.ForZones = append(out.Hints.ForZones, discoveryv1.ForZone{Name: z})
	}
	for _, n := range e.ForNodes {
		out.Hints.ForNodes = append(out.Hints.ForNodes, discoveryv1.ForNode{Name: n})
	}
	if e.PodName != "" {
		out.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: e.PodNamespace, Name: e.PodName}
	}
	return out
}

// orNil points to v, unless it is the zero value.
func orNil[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
