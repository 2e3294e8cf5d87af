package lab

import (
	"fmt"
	"net/netip"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-cni/sluice/flows/endpoint"
)

// Endpoint is one end of a connection as commands name it.
type Endpoint = endpoint.Endpoint

// The kinds of endpoints.
const (
	PodEndpoint     = endpoint.Pod
	AddressEndpoint = endpoint.Address
	ServiceEndpoint = endpoint.Service
	NodeEndpoint    = endpoint.Node
	OutsideEndpoint = endpoint.Outside
)

// ParseEndpoint reads an endpoint. Whether there is such a thing is not asked.
func ParseEndpoint(text string) (Endpoint, error) { return endpoint.Parse(text) }

// station is an endpoint as it is in a lab now.
type station struct {
	Endpoint
	// netns is where one stands to speak from it, empty where one cannot.
	netns string
	// ovsRunDir is that of the node, if it is one.
	ovsRunDir string
	// agentSocket is that of the node's agent.
	agentSocket string
	addresses   []netip.Addr
	ports       []Port
	// hostNetwork is set for a pod without a device of its own.
	hostNetwork bool
}

// find looks an endpoint up.
func (s *state) find(p places, c *cluster, end Endpoint) (station, error) {
	at := station{Endpoint: end}
	switch end.Kind {
	case AddressEndpoint:
		at.addresses = []netip.Addr{end.Address}
	case OutsideEndpoint:
		at.netns, at.addresses, at.ports = p.outsideNetns(), s.outside(), outsidePorts
	case NodeEndpoint:
		node := s.node(end.Name)
		if node == nil {
			return at, s.unknownNode(end.Name)
		}
		h := p.host(s, end.Name)
		at.netns, at.ovsRunDir, at.agentSocket = h.netns(), h.ovsDir(), h.agentSocket()
		at.addresses = s.wired(*node)
	case PodEndpoint:
		pod := s.pod(end.Namespace, end.Name)
		if pod == nil {
			return at, fmt.Errorf("there is no pod %s in lab %q: `sluice-lab list` shows those there are", end, p.lab)
		}
		if !pod.Running {
			return at, fmt.Errorf("pod %s does not run: it could not be plugged in when it was applied", end)
		}
		at.netns, at.addresses, at.ports, at.hostNetwork = pod.Netns, pod.Addresses, pod.Ports, pod.HostNetwork
	case ServiceEndpoint:
		service, ok := c.objects[Key{Kind: serviceKind.Kind, Namespace: end.Namespace, Name: end.Name}]
		if !ok {
			return at, fmt.Errorf("there is no %s in lab %q", end, p.lab)
		}
		at.addresses, at.ports = serviceAddress(service)
		if len(at.addresses) == 0 {
			return at, fmt.Errorf("%s has no cluster IP", end)
		}
	}
	return at, nil
}

func serviceAddress(service Object) ([]netip.Addr, []Port) {
	var addresses []netip.Addr
	texts, _, _ := unstructured.NestedStringSlice(service.Object, "spec", "clusterIPs")
	if one, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP"); len(texts) == 0 {
		texts = []string{one}
	}
	for _, text := range texts {
		if address, err := netip.ParseAddr(text); err == nil {
			addresses = append(addresses, address)
		}
	}
	var ports []Port
	list, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	for _, item := range list {
		fields, _ := item.(map[string]any)
		number, _ := fields["port"].(int64)
		protocol, _ := fields["protocol"].(string)
		if protocol == "" {
			protocol = "TCP"
		}
		ports = append(ports, Port{int(number), protocol})
	}
	return addresses, ports
}
