package services

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows/state"
)

// addService gives the node a Service with virtual addresses 10.96.0.I and fd96::I, port 80 by TCP and UDP, whose
// backends are at port 8080.
func (n *node) addService(i int, backends ...string) state.Service {
	name := fmt.Sprintf("svc-%d", i)
	o := state.Service{
		Namespace: "shop", Name: name, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd96::%x", i))},
		Ports: []state.ServicePort{{Name: "t", Protocol: state.TCP, Port: 80}, {Name: "u", Protocol: state.UDP, Port: 80}},
	}
	n.state.Services = append(n.state.Services, o)
	n.setBackends(i, backends...)
	return o
}

// setBackends makes these the Service's, in place of those that it had.
func (n *node) setBackends(i int, backends ...string) {
	name := fmt.Sprintf("svc-%d", i)
	var list []state.EndpointSlice
	for _, s := range n.state.EndpointSlices {
		if s.Service != name {
			list = append(list, s)
		}
	}
	s := state.EndpointSlice{Namespace: "shop", Name: name, Service: name, Ports: []state.EndpointPort{{Name: "t", Protocol: state.TCP, Port: 8080}, {Name: "u", Protocol: state.UDP, Port: 8080}}}
	for _, b := range backends {
		for _, a := range addressesOf(b) {
			s.Endpoints = append(s.Endpoints, state.Endpoint{Address: netip.MustParseAddr(a), Ready: true, Serving: true})
		}
	}
	list = append(list, s)
	n.state.EndpointSlices = list
}

func addressesOf(place string) []string {
	return map[string][]string{
		"a": {"10.244.1.2", "fd00:1::2"}, "b": {"10.244.1.3", "fd00:1::3"}, "c": {"10.244.1.4", "fd00:1::4"},
		"host": {"10.9.0.1", "fd09::1"}, "outside": {"10.9.0.254", "fd09::fe"},
	}[place]
}

var networks = []string{"tcp4", "tcp6", "udp4", "udp6"}

// virtual is a Service's address and a port.
func virtual(network string, i, port int) string {
	if strings.HasSuffix(network, "6") {
		return fmt.Sprintf("[fd96::%x]:%d", i, port)
	}
	return fmt.Sprintf("10.96.0.%d:%d", i, port)
}

// TestEveryClientReachesEveryBackend on one node, and which address the backend sees.
func TestEveryClientReachesEveryBackend(t *testing.T) {
	n := newNode(t)
	for i, backend := range []string{"a", "host", "outside"} {
		n.serve(backend, 8080)
		n.addService(i+1, backend)
	}
	n.put()
	// What a backend sees of a client, by IPv4 and IPv6.
	own := map[string][2]string{"a": {"10.244.1.2", "fd00:1::2"}, "b": {"10.244.1.3", "fd00:1::3"}, "host": {"10.244.1.1", "fd00:1::1"}}
	hairpin, masqueraded := [2]string{"169.254.0.1", "fd73:6c75:6963:6500::1"}, [2]string{"10.9.0.1", "fd09::1"}
	for _, client := range []string{"a", "b", "host"} {
		for i, backend := range []string{"a", "host", "outside"} {
			for _, network := range networks {
				seen := own[client]
				switch {
				case backend == "outside":
					seen = masqueraded
				case client == backend:
					seen = hairpin
				}
				want := backend + " " + seen[0]
				if strings.HasSuffix(network, "6") {
					want = backend + " " + seen[1]
				}
				if got := n.ask(client, network, virtual(network, i+1, 80)); got != want {
					t.Errorf("%s from %s to a Service of %s: %s, want %s", network, client, backend, got, want)
				}
			}
		}
	}
}

// TestTheHostAsksWithAnyOfItsAddresses: a program that is bound to the node's own address or to another that is only
// there reaches every backend, and is refused, as one that is not bound. A pod that it asks directly sees
// the address that it is bound to.
func TestTheHostAsksWithAnyOfItsAddresses(t *testing.T) {
	n := newNode(t)
	for i, backend := range []string{"a", "host", "outside"} {
		n.serve(backend, 8080)
		n.addService(i+1, backend)
	}
	n.addService(4)
	n.put()
	n.ip(n.ovs.Namespace, "addr add 192.0.2.7/32 dev lo")
	n.ip(n.ovs.Namespace, "addr add 2001:db8::7/128 dev lo")
	for _, bound := range [][2]string{{"10.9.0.1", "fd09::1"}, {"192.0.2.7", "2001:db8::7"}} {
		for _, network := range networks {
			family := strings.Index("46", network[3:])
			direct := [2]string{"10.244.1.2:8080", "[fd00:1::2]:8080"}[family]
			for to, want := range map[string]string{
				virtual(network, 1, 80): "a " + [2]string{"10.244.1.1", "fd00:1::1"}[family],
				virtual(network, 2, 80): "host " + [2]string{"169.254.0.1", "fd73:6c75:6963:6500::1"}[family],
				virtual(network, 3, 80): "outside " + [2]string{"10.9.0.1", "fd09::1"}[family],
				virtual(network, 4, 80): "refused",
				direct:                  "a " + bound[family],
			} {
				got := askOn(n.dialFrom("host", bound[family], network, to))
				if got != want {
					t.Errorf("%s from %s to %s: %s, want %s", network, bound[family], to, got, want)
				}
			}
		}
	}
}

// TestAClientStaysWithItsBackend where the Service asks for it, and goes to others' where not.
func TestAClientStaysWithItsBackend(t *testing.T) {
	n := newNode(t)
	for i, affinity := range []int32{0, 60} {
		n.addService(i+1, "a", "b")
		n.state.Services[i].Affinity = affinity
	}
	n.serve("a", 8080)
	n.serve("b", 8080)
	n.put()
	for _, network := range networks {
		for i, most := range []int{2, 1} {
			seen := map[string]bool{}
			for range 20 {
				got := n.ask("c", network, virtual(network, i+1, 80))
				seen[got] = true
			}
			if len(seen) != most || seen["silence"] || seen["refused"] {
				t.Errorf("%s: 20 connections to Service %d went to %v", network, i+1, seen)
			}
		}
	}
}
