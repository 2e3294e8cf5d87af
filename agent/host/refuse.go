package host

import (
	"net/netip"

	"sigs.k8s.io/knftables"

	"github.com/sluice-cni/sluice/flows/render"
)

// refuse answers at once what the switch sends here because nobody serves it. Foreign chains that drop
// have later priorities.
func refuse(tx *knftables.Transaction, from []netip.Prefix) {
	if len(from) == 0 {
		return
	}
	tx.Add(&knftables.Chain{Name: "refuse", Comment: knftables.PtrTo("a Service without a backend: its clients need not wait")})
	tx.Add(&knftables.Rule{Chain: "refuse", Rule: "meta l4proto tcp reject with tcp reset"})
	tx.Add(&knftables.Rule{Chain: "refuse", Rule: "reject with icmpx type port-unreachable"})
	for _, c := range []struct {
		name string
		hook knftables.BaseChainHook
	}{{"refused_forward", knftables.ForwardHook}, {"refused_in", knftables.InputHook}} {
		tx.Add(&knftables.Chain{
			Name: c.name, Type: knftables.PtrTo(knftables.FilterType), Hook: knftables.PtrTo(c.hook),
			Priority: knftables.PtrTo(knftables.FilterPriority + "-10"),
		})
		for _, p := range from {
			tx.Add(&knftables.Rule{Chain: c.name, Rule: knftables.Concat("iifname", quoted(render.GatewayDevice), ip(p.Addr()), "saddr", p.String(), "goto refuse")})
		}
	}
}

// ip is nft's word for the family of an address.
func ip(a netip.Addr) string { return nftFamily(a.Is4()) }

func nftFamily(v4 bool) string {
	if v4 {
		return "ip"
	}
	return "ip6"
}
