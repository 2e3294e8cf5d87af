package render

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
	"github.com/sluice-cni/sluice/flows/verdict"
)

// led is where host ports lead what is for an address and port of a node; not valid if nowhere. Two that
// are for the same would fail to load.
func led(t *rapid.T, ports []HostPort, protocol state.Protocol, to netip.AddrPort) netip.AddrPort {
	var out netip.AddrPort
	for _, single := range []bool{true, false} { // single addresses come first
		for _, h := range ports {
			if h.Address.IsValid() != single || h.Protocol != protocol || h.Port != to.Port() || single && h.Address != to.Addr() || h.To.Addr().Is4() != to.Addr().Is4() {
				continue
			}
			if out.IsValid() {
				t.Fatalf("%s/%s leads to %s and to %s", to, protocol, out, h.To)
			}
			out = h.To
		}
	}
	return out
}

// TestHostPortsLeadWhereTheOracleSays: the switch for pods, and the host's rules for its own clients and
// those from outside.
func TestHostPortsLeadWhereTheOracleSays(t *testing.T) {
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		s := statetest.DrawPolicies(t)
		statetest.DrawHostPorts(t, &s)
		d := new(Renderer).divide(s)
		var inSwitch []HostPort
		for _, p := range d.parts {
			if h, ok := p.(hostPortPart); ok {
				inSwitch = append(inSwitch, h.ports...)
			}
		}
		host := d.hostPorts()
		self, _ := s.Self()
		own := append(d.hostAddresses(self), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"))
		for _, address := range statetest.HostPortAddresses {
			for _, port := range statetest.HostPorts {
				for _, protocol := range []state.Protocol{state.TCP, state.UDP, state.SCTP} {
					to := netip.AddrPortFrom(address, port)
					says := func(source string) netip.AddrPort {
						l, _ := verdict.Lead(s, verdict.Connection{Source: netip.MustParseAddr(source), Destination: address, Protocol: protocol, Port: port})
						return l.To
					}
					if !address.IsLoopback() {
						if got, want := led(t, inSwitch, protocol, to), says("10.244.1.200"); got != want {
							t.Fatalf("from a pod %s/%s leads to %s in the switch, and should to %s", to, protocol, got, want)
						}
					}
					if !slices.Contains(own, address) {
						continue
					}
					want := says(self.Addresses[0].String())
					if got := led(t, host, protocol, to); got != want {
						t.Fatalf("from the node %s/%s leads to %s, and should to %s", to, protocol, got, want)
					}
					if want.IsValid() {
						found++
					}
				}
			}
		}
	})
	if found == 0 {
		t.Error("no host port was found: nothing was shown")
	}
}
