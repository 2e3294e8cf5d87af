package host_test

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// hostPort is a port of the node, on one of its addresses unless that is empty.
func hostPort(address string, protocol state.Protocol, port uint16, to string) render.HostPort {
	h := render.HostPort{Protocol: protocol, Port: port, To: netip.MustParseAddrPort(to)}
	if address != "" {
		h.Address = netip.MustParseAddr(address)
	}
	return h
}

// TestHostPortsComeAndGoAlone: each is an element of a map, and nothing else is touched by it.
func TestHostPortsComeAndGoAlone(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		run(t, "nft add table inet others; nft add chain inet others c; nft add rule inet others c counter")
		h := host.New(slog.New(slog.DiscardHandler))
		want := render.Host{Rules: render.Rules{
			Untracked: []uint16{6081}, Local: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
			Gateways: []netip.Addr{netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("fd00:1::1")},
		}}
		handles := func() string {
			return run(t, "nft -a list chains inet; nft -a list chain inet sluice host_ports | grep -o 'handle .*'")
		}
		check := func(ports ...render.HostPort) {
			t.Helper()
			want.Rules.HostPorts = ports
			if err := h.Apply(t.Context(), want, false); err != nil {
				t.Fatal(err)
			}
			got, err := host.InstalledHostPorts(t.Context())
			if err != nil || len(got) != len(ports) || slices.ContainsFunc(ports, func(p render.HostPort) bool { return !slices.Contains(got, p) }) {
				t.Errorf("installed %v, want %v; %v", got, ports, err)
			}
		}
		check()
		before := handles()
		all := []render.HostPort{
			hostPort("", state.TCP, 80, "10.244.1.2:8080"), hostPort("", state.TCP, 80, "[fd00:1::2]:8080"),
			hostPort("10.9.0.1", state.UDP, 53, "10.244.1.2:53"), hostPort("fd09::1", state.SCTP, 9, "[fd00:1::2]:9"),
		}
		check(all...)
		check(all[1:]...)
		moved := slices.Clone(all)
		moved[0].To = netip.MustParseAddrPort("10.244.1.3:8080")
		check(moved...)
		if after := handles(); after != before {
			t.Errorf("rules were loaded anew:\n%s\nwere\n%s", after, before)
		}
		if h.Repaired() != 0 {
			t.Errorf("%d repairs", h.Repaired())
		}
		// Whatever somebody else does is put right whole.
		for _, spoil := range []string{"nft delete element inet sluice host_ports4 '{ tcp . 80 }'", "nft flush chain inet sluice host_ports_in", "nft delete table inet sluice"} {
			run(t, spoil)
			if err := h.Apply(t.Context(), want, true); err != nil {
				t.Fatal(err)
			}
			check(moved...)
		}
		run(t, "nft delete table inet sluice")
		check(all...) // with another change at the same time
		check()
		if others := run(t, "nft list table inet others"); !strings.Contains(others, "counter packets 0") {
			t.Errorf("a foreign table is %s", others)
		}
	})
}
