package statetest

import (
	"net/netip"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/state"
)

// HostPortAddresses are those of the nodes that drawn states have, and what is no node's.
var HostPortAddresses = []netip.Addr{
	netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("fd00:1::1"),
	netip.MustParseAddr("fd00:2::1"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("192.0.2.1"),
}

// HostPorts are the numbers of drawn ones, and one beside them.
var HostPorts = []uint16{7000, 7001, 7002}

// DrawHostPorts gives the state's pods and cables host ports, of which several want one.
func DrawHostPorts(t *rapid.T, s *state.State) {
	at := append([]netip.Addr{{}, {}, netip.IPv4Unspecified(), netip.IPv6Unspecified()}, HostPortAddresses...)
	draw := rapid.Custom(func(t *rapid.T) state.HostPort {
		return state.HostPort{
			Address: rapid.SampledFrom(at).Draw(t, "hostIP"), Protocol: drawnProtocol.Draw(t, "protocol"),
			Port: rapid.SampledFrom(HostPorts[:2]).Draw(t, "hostPort"), PodPort: rapid.Uint16Range(80, 81).Draw(t, "containerPort"),
		}
	})
	ports := rapid.SliceOfN(draw, 0, 2)
	for i := range s.Pods {
		if !s.Pods[i].HostNetwork {
			s.Pods[i].HostPorts = ports.Draw(t, "pod's host ports")
		}
	}
	for i := range s.Attachments {
		s.Attachments[i].HostPorts = ports.Draw(t, "host ports")
	}
}
