package statetest

import (
	"net/netip"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/state"
)

// DrawServices adds a few Services, with addresses that several claim, and EndpointSlices to a state:
// of the pods that Draw makes, of nodes, of what is outside.
func DrawServices(t *rapid.T, s *state.State) {
	name := rapid.SampledFrom([]string{"api", "web", "web-2"})
	virtual := rapid.SampledFrom([]string{"10.96.0.1", "10.96.0.2", "fd96::1", "fd96::2"})
	protocol := rapid.SampledFrom([]state.Protocol{state.TCP, state.UDP, state.SCTP})
	portName := rapid.SampledFrom([]string{"", "http"})
	for _, n := range rapid.SliceOfNDistinct(name, 0, 3, rapid.ID[string]).Draw(t, "services") {
		o := state.Service{
			Namespace: "shop", Name: n, Deleting: rapid.Bool().Draw(t, "deleting"), Created: rapid.Int64Range(0, 2).Draw(t, "created"),
			InternalLocal: rapid.Bool().Draw(t, "local"), PublishNotReady: rapid.Bool().Draw(t, "publish"),
		}
		if rapid.Bool().Draw(t, "affinity") {
			o.Affinity = 60
		}
		for _, a := range rapid.SliceOfN(virtual, 0, 3).Draw(t, "clusterIPs") {
			o.ClusterIPs = append(o.ClusterIPs, netip.MustParseAddr(a))
		}
		for range rapid.IntRange(0, 2).Draw(t, "ports") {
			o.Ports = append(o.Ports, state.ServicePort{
				Name: portName.Draw(t, "port"), Protocol: protocol.Draw(t, "protocol"), Port: rapid.Uint16Range(80, 81).Draw(t, "number"),
			})
		}
		s.Services = append(s.Services, o)
	}
	hint := rapid.SliceOfN(rapid.SampledFrom([]string{"n1", "n2", "east"}), 0, 2)
	for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID[string]).Draw(t, "endpointSlices") {
		e := state.EndpointSlice{Namespace: "shop", Name: n, Service: name.Draw(t, "service")}
		for range rapid.IntRange(0, 2).Draw(t, "ports") {
			e.Ports = append(e.Ports, state.EndpointPort{
				Name: portName.Draw(t, "port"), Protocol: protocol.Draw(t, "protocol"), Port: rapid.Uint16Range(0, 2).Draw(t, "number"),
			})
		}
		for range rapid.IntRange(0, 3).Draw(t, "endpoints") {
			e.Endpoints = append(e.Endpoints, state.Endpoint{
				Address: netip.MustParseAddr(rapid.SampledFrom([]string{"10.244.1.2", "10.244.2.2", "10.9.0.1", "192.0.2.1", "fd00:1::2", "fd09::2"}).Draw(t, "address")),
				Ready:   rapid.Bool().Draw(t, "ready"), Serving: rapid.Bool().Draw(t, "serving"), Terminating: rapid.Bool().Draw(t, "terminating"),
				Node:     rapid.SampledFrom([]string{"", "n1", "n2"}).Draw(t, "node"),
				ForZones: hint.Draw(t, "zones"), ForNodes: hint.Draw(t, "nodes"),
			})
		}
		s.EndpointSlices = append(s.EndpointSlices, e)
	}
}
