package service

import (
	"net/netip"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

// Translate gives a new connection to one backend, as a Service's bucket does, without a Service: it
// is a port of a node that leads to a pod.
func Translate(protocol state.Protocol, to netip.AddrPort) flows.Action {
	return Port{ServicePort: state.ServicePort{Protocol: protocol}, IPv6: to.Addr().Is6()}.translate(to)
}
