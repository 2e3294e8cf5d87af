package host

import (
	"net/netip"
	"testing"

	"sigs.k8s.io/knftables"

	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
)

// TestAnElementIsReadAsNftWritesIt: with protocols by their names, or by their numbers.
func TestAnElementIsReadAsNftWritesIt(t *testing.T) {
	for protocol, number := range map[state.Protocol]string{state.TCP: "6", state.UDP: "17", state.SCTP: "132"} {
		for _, m := range portMaps {
			want := render.HostPort{Protocol: protocol, Port: 7000, To: netip.MustParseAddrPort("[fd00:1::2]:80")}
			if m.v4 {
				want.To = netip.MustParseAddrPort("10.244.1.2:80")
			}
			if m.at {
				want.Address = want.To.Addr().Next()
			}
			named := portElement(want)
			numbered := *named
			numbered.Key = append([]string{}, named.Key...)
			numbered.Key[len(numbered.Key)-2] = number
			for _, e := range []*knftables.Element{named, &numbered} {
				if got, ok := m.read(e); !ok || got != want {
					t.Errorf("%s %v: read %+v, %v", m.name, e.Key, got, ok)
				}
			}
		}
	}
	for _, key := range [][]string{{"icmp", "80"}, {"6", "http"}, {"6"}, nil} {
		if got, ok := portMaps[1].read(&knftables.Element{Key: key, Value: []string{"10.244.1.2", "80"}}); ok {
			t.Errorf("%v is read as %+v", key, got)
		}
	}
}
