package host

import (
	"strings"

	"sigs.k8s.io/knftables"

	"github.com/sluice-cni/sluice/flows/render"
)

// asGateway gives what a program of the host sends that is bound to another of the node's addresses a source
// that can be answered: pods cannot answer 127.0.0.1 or ::1, and to the node's own address neither other nodes'
// pods nor the switch, when it refuses, have a way back.
func asGateway(tx *knftables.Transaction, want render.Rules) {
	if len(want.Gateways) == 0 {
		return
	}
	tx.Add(&knftables.Chain{
		Name: "as_gateway", Type: knftables.PtrTo(knftables.NATType), Hook: knftables.PtrTo(knftables.PostroutingHook), Priority: knftables.PtrTo(knftables.SNATPriority),
		Comment: knftables.PtrTo("what the node's other addresses send to Services and to other nodes' pods"),
	})
	for _, gw := range want.Gateways {
		out := knftables.Concat("oifname", quoted(render.GatewayDevice), ip(gw))
		snat := knftables.Concat("snat", ip(gw), "to", gw)
		tx.Add(&knftables.Rule{Chain: "as_gateway", Rule: knftables.Concat(out, "saddr", render.Loopback(gw.Is4()), snat)})
		var here []string
		for _, p := range want.Here(gw.Is4()) {
			here = append(here, p.String())
		}
		tx.Add(&knftables.Rule{Chain: "as_gateway", Rule: knftables.Concat(
			out, "saddr !=", gw, ip(gw), "daddr != {", strings.Join(here, ", "), "} fib saddr type local", snat)})
	}
}
