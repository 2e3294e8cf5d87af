package verdict_test

import (
	"net/netip"
	"testing"

	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
)

// TestWhomAHostPortLeadsTo: on n1, which knows what is plugged in, and on n2, of which it knows the Pods.
func TestWhomAHostPortLeadsTo(t *testing.T) {
	addr, ports := netip.MustParseAddr, func(list ...string) (out []state.HostPort) {
		for _, s := range list {
			h, err := state.ParseHostPort(s)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, h)
		}
		return out
	}
	s := state.State{
		Node: "n1",
		Nodes: []state.Node{
			{Name: "n1", Addresses: []netip.Addr{addr("10.9.0.1"), addr("fd09::1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}},
			{Name: "n2", Addresses: []netip.Addr{addr("10.9.0.2")}},
		},
		Attachments: []state.Attachment{
			{ContainerID: "a", PodNamespace: "shop", PodName: "web", OFPort: 258, Created: 1, Addresses: []netip.Addr{addr("10.244.1.2"), addr("fd00::2")},
				HostPorts: ports("8080:80/TCP", "10.9.0.1:53:5353/UDP", "127.0.0.1:7000:70/TCP", "[::1]:7000:71/TCP")},
			{ContainerID: "b", PodNamespace: "shop", PodName: "late", OFPort: 259, Created: 2, Addresses: []netip.Addr{addr("10.244.1.3")}, HostPorts: ports("8080:81/TCP")},
			{ContainerID: "c", PodNamespace: "shop", PodName: "going", OFPort: 260, Created: 1, Addresses: []netip.Addr{addr("10.244.1.4")}, HostPorts: ports("9090:90/TCP")},
			{ContainerID: "d", OFPort: 261, Created: 2, Addresses: []netip.Addr{addr("10.244.1.5")}, HostPorts: ports("9090:91/TCP")},
		},
		Pods: []state.Pod{
			{Namespace: "shop", Name: "going", Node: "n1", Deleting: true},
			{Namespace: "shop", Name: "far", Node: "n2", Created: 5, Addresses: []netip.Addr{addr("10.244.2.2")}, HostPorts: ports("8080:80/TCP")},
			{Namespace: "shop", Name: "done", Node: "n2", Created: 1, Finished: true, Addresses: []netip.Addr{addr("10.244.2.3")}, HostPorts: ports("8080:80/TCP")},
		},
	}
	for _, c := range []struct {
		name, source, destination string
		protocol                  state.Protocol
		port                      uint16
		pod, to                   string // both empty: it leads nowhere
	}{
		{"by the node's address, the older has it", "192.0.2.1", "10.9.0.1", state.TCP, 8080, "shop/web", "10.244.1.2:80"},
		{"by its address of the other family", "2001:db8::1", "fd09::1", state.TCP, 8080, "shop/web", "[fd00::2]:80"},
		{"by its gateway's", "10.244.1.3", "10.244.1.1", state.TCP, 8080, "shop/web", "10.244.1.2:80"},
		{"another protocol", "192.0.2.1", "10.9.0.1", state.UDP, 8080, "", ""},
		{"on one address", "192.0.2.1", "10.9.0.1", state.UDP, 53, "shop/web", "10.244.1.2:5353"},
		{"on another", "192.0.2.1", "10.244.1.1", state.UDP, 53, "", ""},
		{"what is going loses it, to a container that is no pod", "192.0.2.1", "10.9.0.1", state.TCP, 9090, "", "10.244.1.5:91"},
		{"the loopback, from the node", "10.9.0.1", "127.0.0.1", state.TCP, 7000, "shop/web", "10.244.1.2:70"},
		{"the loopback, from a pod", "10.244.1.3", "127.0.0.1", state.TCP, 7000, "", ""},
		{"the loopback, from another node", "10.9.0.2", "127.0.0.1", state.TCP, 7000, "", ""},
		{"IPv6's loopback", "fd09::1", "::1", state.TCP, 7000, "shop/web", "[fd00::2]:71"},
		{"a port on all addresses, by the loopback", "10.9.0.1", "127.0.0.1", state.TCP, 8080, "shop/web", "10.244.1.2:80"},
		{"on another node, whose finished pod does not count", "10.244.1.2", "10.9.0.2", state.TCP, 8080, "shop/far", "10.244.2.2:80"},
		{"nobody's address", "10.244.1.2", "10.9.0.3", state.TCP, 8080, "", ""},
	} {
		got, ok := verdict.Lead(s, verdict.Connection{Source: addr(c.source), Destination: addr(c.destination), Protocol: c.protocol, Port: c.port})
		if ok != (c.to != "") || got.Pod != c.pod || ok && got.To.String() != c.to {
			t.Errorf("%s: leads to %s (%s), %v", c.name, got.Pod, got.To, ok)
		}
	}
}
