package manifests

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/state"
)

// Where no control plane writes EndpointSlices, they follow from the Pods, as the EndpointSlice
// controller makes them: for each Service that has virtual addresses and a selector, and that no slice in
// the files is of.

// selecting is a Service whose backends are the Pods that it selects.
type selecting struct {
	service state.Service
	spec    corev1.ServiceSpec
}

// endpointSlices are those of the Services that no slice is of.
func (r *reader) endpointSlices() []state.EndpointSlice {
	written := map[string]bool{}
	for _, s := range r.content.EndpointSlices {
		written[s.Namespace+"/"+s.Service] = true
	}
	pods := map[string][]state.Pod{} // by namespace
	for _, p := range r.content.Pods {
		pods[p.Namespace] = append(pods[p.Namespace], p)
	}
	zones := map[string]string{}
	for _, n := range r.content.Nodes {
		zones[n.Name] = n.Labels[corev1.LabelTopologyZone]
	}
	var out []state.EndpointSlice
	for _, s := range r.selecting {
		if written[s.service.Namespace+"/"+s.service.Name] {
			continue
		}
		all := slicesOf{selecting: s, unready: r.unready, zones: zones, byPorts: map[string]*state.EndpointSlice{}}
		for _, p := range pods[s.service.Namespace] {
			if s.selects(p) {
				all.add(p)
			}
		}
		out = append(out, all.sorted()...)
	}
	return out
}

// selects tells whether a Pod is behind the Service.
func (s selecting) selects(p state.Pod) bool {
	for key, value := range s.spec.Selector {
		if got, ok := p.Labels[key]; !ok || got != value {
			return false
		}
	}
	return !p.Finished && len(p.Addresses) > 0
}

// slicesOf gathers a Service's slices.
type slicesOf struct {
	selecting
	// unready are the Pods whose Ready condition is not True, zones those of nodes.
	unready map[string]bool
	zones   map[string]string
	// byPorts are the slices, by family and by the ports that the pods in it serve at.
	byPorts map[string]*state.EndpointSlice
}

// add adds a Pod's addresses of the Service's families.
func (s *slicesOf) add(p state.Pod) {
	ports := s.ports(p)
	for _, virtual := range s.service.ClusterIPs {
		i := slices.IndexFunc(p.Addresses, func(a netip.Addr) bool { return a.Is4() == virtual.Is4() })
		if i < 0 {
			continue
		}
		key := fmt.Sprint(virtual.Is6(), ports)
		slice := s.byPorts[key]
		if slice == nil {
			slice = &state.EndpointSlice{Namespace: p.Namespace, Service: s.service.Name, Ports: ports}
			s.byPorts[key] = slice
		}
		slice.Endpoints = append(slice.Endpoints, s.endpoint(p, p.Addresses[i]))
	}
}

// ports are where a Pod serves the Service's ports; one whose name it does not have is left out.
func (s *slicesOf) ports(p state.Pod) []state.EndpointPort {
	var out []state.EndpointPort
	for _, port := range s.service.Ports {
		i := slices.IndexFunc(s.spec.Ports, func(o corev1.ServicePort) bool {
			return o.Name == port.Name && o.Port == int32(port.Port) && (state.Protocol(o.Protocol) == port.Protocol || o.Protocol == "")
		})
		if i < 0 {
			continue
		}
		number := targetPort(s.spec.Ports[i].TargetPort, port, p)
		if number != 0 {
			out = append(out, state.EndpointPort{Name: port.Name, Protocol: port.Protocol, Port: number})
		}
	}
	return out
}

// targetPort is the number of a Service's target port in a Pod, 0 if it has none of that name.
func targetPort(target intstr.IntOrString, port state.ServicePort, p state.Pod) uint16 {
	if target.Type == intstr.String && target.StrVal != "" {
		for _, n := range p.Ports {
			if n.Name == target.StrVal && n.Protocol == port.Protocol {
				return n.Port
			}
		}
		return 0
	}
	if target.IntVal >= 1 && target.IntVal <= 65535 {
		return uint16(target.IntVal)
	}
	return port.Port
}

func (s *slicesOf) endpoint(p state.Pod, address netip.Addr) state.Endpoint {
	serving := !s.unready[p.Namespace+"/"+p.Name]
	e := state.Endpoint{
		Address: address, Serving: serving, Ready: serving && !p.Deleting || s.service.PublishNotReady, Terminating: p.Deleting,
		Node: p.Node, Zone: s.zones[p.Node], PodNamespace: p.Namespace, PodName: p.Name,
	}
	if !e.Ready {
		return e
	}
	switch s.service.TrafficDistribution {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if e.Node != "" {
			e.ForNodes = []string{e.Node}
		}
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
	default:
		return e
	}
	if e.Zone != "" {
		e.ForZones = []string{e.Zone}
	}
	return e
}

// sorted are the slices with their names, in the order of these.
func (s *slicesOf) sorted() []state.EndpointSlice {
	var out []state.EndpointSlice
	for i, key := range slices.Sorted(maps.Keys(s.byPorts)) {
		slice := *s.byPorts[key]
		slice.Name = fmt.Sprintf("%s-pods-%d", s.service.Name, i)
		slices.SortFunc(slice.Endpoints, func(a, b state.Endpoint) int { return strings.Compare(a.PodName, b.PodName) })
		out = append(out, slice)
	}
	return out
}

// service takes a Service, and its selector if its backends follow from it.
func (r *reader) service(s *corev1.Service) error {
	out, ok, err := source.Service(s)
	if err != nil || !ok {
		return err
	}
	r.content.Services = append(r.content.Services, out)
	if len(s.Spec.Selector) > 0 {
		r.selecting = append(r.selecting, selecting{out, s.Spec})
	}
	return nil
}

// pod takes a Pod, and whether it is ready: one without conditions is, as in YAML written by hand.
func (r *reader) pod(p *corev1.Pod) error {
	out, err := source.Pod(p)
	if err != nil {
		return err
	}
	r.content.Pods = append(r.content.Pods, out)
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue {
			r.unready[p.Namespace+"/"+p.Name] = true
		}
	}
	return nil
}
