package source

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/sluice-cni/sluice/flows/state"
)

// The labels of Services, and of their EndpointSlices, that are not for a node's proxy: those
// that another proxy serves, and those of headless Services.
const (
	LabelOtherProxy = "service.kubernetes.io/service-proxy-name"
	LabelHeadless   = corev1.IsHeadlessService
)

// Service keeps what state needs of a Service. There is none (ok is false) if it has no virtual
// address (headless, ExternalName, none given yet) or if another proxy serves it. An address or a
// port that cannot be read is an error that names the field; the rest is kept.
func Service(s *corev1.Service) (out state.Service, ok bool, err error) {
	if !ours(s.Labels) || s.Spec.Type == corev1.ServiceTypeExternalName {
		return out, false, nil
	}
	out = state.Service{
		Namespace: s.Namespace, Name: s.Name, UID: string(s.UID),
		InternalLocal:       s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		Affinity:            affinity(s.Spec),
		PublishNotReady:     s.Spec.PublishNotReadyAddresses,
		TrafficDistribution: value(s.Spec.TrafficDistribution),
		Deleting:            s.DeletionTimestamp != nil, Created: created(s.ObjectMeta),
	}
	bad := func(format string, args ...any) {
		if err == nil {
			err = fmt.Errorf("service %q: "+format, append([]any{s.Namespace + "/" + s.Name}, args...)...)
		}
	}
	addresses := s.Spec.ClusterIPs
	if len(addresses) == 0 && s.Spec.ClusterIP != "" {
		addresses = []string{s.Spec.ClusterIP}
	}
	for _, text := range addresses {
		if text == "" || text == corev1.ClusterIPNone {
			continue
		}
		if ip, err := netip.ParseAddr(text); err != nil || ip.Zone() != "" {
			bad("spec.clusterIPs: %q is no address", text)
		} else {
			out.ClusterIPs = append(out.ClusterIPs, ip.Unmap())
		}
	}
	for i, p := range s.Spec.Ports {
		port := state.ServicePort{Name: p.Name, Protocol: protocol(p.Protocol), Port: uint16(p.Port)}
		switch {
		case port.Protocol == "":
			bad("spec.ports[%d].protocol: %q is neither TCP, UDP nor SCTP", i, p.Protocol)
		case p.Port < 1 || p.Port > 65535:
			bad("spec.ports[%d].port: %d is no port, expected 1 to 65535", i, p.Port)
		default:
			out.Ports = append(out.Ports, port)
		}
	}
	return out, len(out.ClusterIPs) > 0, err
}

// ours tells whether a Service or an EndpointSlice with these labels is for a node's proxy.
func ours(labels map[string]string) bool {
	_, other := labels[LabelOtherProxy]
	_, headless := labels[LabelHeadless]
	return !other && !headless
}

// affinity is for how many seconds a client stays with a backend; 0 is none.
func affinity(s corev1.ServiceSpec) int32 {
	if s.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := s.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil && *c.ClientIP.TimeoutSeconds > 0 {
		return *c.ClientIP.TimeoutSeconds
	}
	return corev1.DefaultClientIPServiceAffinitySeconds
}

// protocol is the protocol that is meant, "" if there is none of that name.
func protocol(p corev1.Protocol) state.Protocol {
	switch out := cmp.Or(state.Protocol(p), state.TCP); out {
	case state.TCP, state.UDP, state.SCTP:
		return out
	}
	return ""
}

// EndpointSlice keeps what state needs of an EndpointSlice. There is none (ok is false) if it is
// of no Service, of one that is not for a node's proxy, or of host names instead of addresses. A field
// that cannot be read is an error; the rest is kept.
func EndpointSlice(s *discoveryv1.EndpointSlice) (out state.EndpointSlice, ok bool, err error) {
	service := s.Labels[discoveryv1.LabelServiceName]
	if service == "" || !ours(s.Labels) || s.AddressType == discoveryv1.AddressTypeFQDN {
		return out, false, nil
	}
	out = state.EndpointSlice{Namespace: s.Namespace, Name: s.Name, Service: service}
	bad := func(format string, args ...any) {
		if err == nil {
			err = fmt.Errorf("endpointslice %q: "+format, append([]any{s.Namespace + "/" + s.Name}, args...)...)
		}
	}
	for i, p := range s.Ports {
		port := state.EndpointPort{Name: value(p.Name), Protocol: protocol(value(p.Protocol)), Port: uint16(value(p.Port))}
		switch {
		case p.Port == nil: // of no use to a Service
		case port.Protocol == "":
			bad("ports[%d].protocol: %q is neither TCP, UDP nor SCTP", i, *p.Protocol)
		case *p.Port < 1 || *p.Port > 65535:
			bad("ports[%d].port: %d is no port, expected 1 to 65535", i, *p.Port)
		default:
			out.Ports = append(out.Ports, port)
		}
	}
	out.Endpoints = make([]state.Endpoint, 0, len(s.Endpoints))
	for i := range s.Endpoints {
		if e, err := endpoint(&s.Endpoints[i]); err != nil {
			bad("endpoints[%d].%w", i, err)
		} else if s.AddressType != "" && e.Address.Is4() != (s.AddressType == discoveryv1.AddressTypeIPv4) {
			bad("endpoints[%d].addresses: %s is not of addressType %s", i, e.Address, s.AddressType)
		} else {
			out.Endpoints = append(out.Endpoints, e)
		}
	}
	return out, true, err
}

func endpoint(e *discoveryv1.Endpoint) (state.Endpoint, error) {
	if len(e.Addresses) == 0 {
		return state.Endpoint{}, errors.New("addresses: there is none")
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil || ip.Zone() != "" {
		return state.Endpoint{}, fmt.Errorf("addresses: %q is no address", e.Addresses[0])
	}
	out := state.Endpoint{
		Address: ip.Unmap(),
		Ready:   unless(e.Conditions.Ready, true), Serving: unless(e.Conditions.Serving, true), Terminating: unless(e.Conditions.Terminating, false),
		Node: value(e.NodeName), Zone: value(e.Zone),
	}
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			out.ForZones = append(out.ForZones, z.Name)
		}
		for _, n := range e.Hints.ForNodes {
			out.ForNodes = append(out.ForNodes, n.Name)
		}
	}
	if r := e.TargetRef; r != nil && r.Kind == "Pod" {
		out.PodNamespace, out.PodName = r.Namespace, r.Name
	}
	return out, nil
}

// value is what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// unless is what p points to, or otherwise.
func unless[T any](p *T, otherwise T) T {
	if p != nil {
		return *p
	}
	return otherwise
}

// SlimService and SlimEndpointSlice drop what Service and EndpointSlice never look at.
func SlimService(s *corev1.Service) {
	s.ManagedFields, s.Annotations, s.OwnerReferences, s.Finalizers = nil, nil, nil, nil
	s.Labels = only(s.Labels, LabelOtherProxy, LabelHeadless)
	s.Spec.Selector, s.Status = nil, corev1.ServiceStatus{}
}

// SlimEndpointSlice is SlimService for EndpointSlices.
func SlimEndpointSlice(s *discoveryv1.EndpointSlice) {
	s.ManagedFields, s.Annotations, s.OwnerReferences, s.GenerateName = nil, nil, nil, ""
	s.Labels = only(s.Labels, discoveryv1.LabelServiceName, LabelOtherProxy, LabelHeadless)
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		e.Hostname, e.DeprecatedTopology = nil, nil
		if len(e.Addresses) > 1 {
			e.Addresses = e.Addresses[:1]
		}
		if r := e.TargetRef; r != nil {
			e.TargetRef = &corev1.ObjectReference{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
		}
	}
}

// only are those of the labels that have these keys.
func only(labels map[string]string, keys ...string) map[string]string {
	var out map[string]string
	for _, key := range keys {
		if v, ok := labels[key]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = v
		}
	}
	return out
}
