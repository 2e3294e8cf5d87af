package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// EndpointKind says what an Endpoint names.
type EndpointKind int

// The kinds of endpoints.
const (
	PodEndpoint EndpointKind = iota
	AddressEndpoint
	ServiceEndpoint
	NodeEndpoint
	OutsideEndpoint
)

// Endpoint is one end of a connection as commands name it: "[namespace/]pod", an
// IP address, "svc/namespace/name", "node/name" or "outside"; with
// ":port[/protocol]" where a port is meant, and an IPv6 address in brackets then.
type Endpoint struct {
	Kind EndpointKind
	// Namespace is of a pod or service, "default" if it was not said.
	Namespace string
	// Name is of a pod, service or node.
	Name    string
	Address netip.Addr
	// Port is 0 if none was said.
	Port int
	// Protocol is tcp, udp, sctp or empty.
	Protocol string
}

var endpointPort = regexp.MustCompile(`^(.+):(\d+)(?:/([A-Za-z]+))?$`)

// ParseEndpoint reads an endpoint. Whether there is such a thing is not asked.
func ParseEndpoint(text string) (Endpoint, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return Endpoint{Kind: AddressEndpoint, Address: address.Unmap()}, nil
	}
	end := Endpoint{}
	name := text
	if match := endpointPort.FindStringSubmatch(text); match != nil {
		port, err := strconv.Atoi(match[2])
		if err != nil || port < 1 || port > 65535 {
			return Endpoint{}, fmt.Errorf("endpoint %q: port %s is none: 1 to 65535 are", text, match[2])
		}
		name, end.Port, end.Protocol = match[1], port, strings.ToLower(match[3])
		if !slices.Contains([]string{"", "tcp", "udp", "sctp"}, end.Protocol) {
			return Endpoint{}, fmt.Errorf("endpoint %q: protocol %q is unknown: use tcp, udp or sctp", text, match[3])
		}
	}
	parts := strings.Split(name, "/")
	address, notAddress := netip.ParseAddr(strings.Trim(name, "[]"))
	switch {
	case notAddress == nil:
		end.Kind, end.Address = AddressEndpoint, address.Unmap()
	case slices.Contains(parts, "") || strings.ContainsAny(name, ":[] "):
		return Endpoint{}, badEndpoint(text)
	case name == "outside":
		end.Kind = OutsideEndpoint
	case len(parts) == 1:
		end.Namespace, end.Name = "default", name
	case len(parts) == 2 && parts[0] == "node":
		end.Kind, end.Name = NodeEndpoint, parts[1]
	case len(parts) == 2:
		end.Namespace, end.Name = parts[0], parts[1]
	case len(parts) == 3 && parts[0] == "svc":
		end.Kind, end.Namespace, end.Name = ServiceEndpoint, parts[1], parts[2]
	default:
		return Endpoint{}, badEndpoint(text)
	}
	return end, nil
}

func badEndpoint(text string) error {
	return fmt.Errorf("%q is no endpoint: write [namespace/]pod, an IP address, svc/namespace/name, node/name or outside, with :port[/protocol] where a port is meant", text)
}

// String is the endpoint without its port, in the long form.
func (e Endpoint) String() string {
	switch e.Kind {
	case AddressEndpoint:
		return e.Address.String()
	case ServiceEndpoint:
		return "svc/" + e.Namespace + "/" + e.Name
	case NodeEndpoint:
		return "node/" + e.Name
	case OutsideEndpoint:
		return "outside"
	}
	return e.Namespace + "/" + e.Name
}

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
		at.netns, at.addresses, at.ports = p.outsideNetns(), []netip.Addr{outsideAddress}, outsidePorts
	case NodeEndpoint:
		node := s.node(end.Name)
		if node == nil {
			return at, s.unknownNode(end.Name)
		}
		h := p.host(s, end.Name)
		at.netns, at.ovsRunDir, at.agentSocket = h.netns(), h.ovsDir(), h.agentSocket()
		at.addresses = []netip.Addr{node.Address}
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
