package forget_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/forget"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
)

func TestWhatTheHostIsToForget(t *testing.T) {
	port := func(address string, protocol state.Protocol, to string) render.HostPort {
		h := render.HostPort{Protocol: protocol, Port: 53, To: netip.MustParseAddrPort(to)}
		if address != "" {
			h.Address = netip.MustParseAddr(address)
		}
		return h
	}
	local := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1")}
	old, now := port("", state.UDP, "10.244.1.2:5353"), port("", state.UDP, "10.244.1.3:5353")
	for _, c := range []struct {
		name            string
		leaving, coming []render.HostPort
		want            string
	}{
		{"nothing changes", nil, nil, ""},
		{"other protocols open anew", []render.HostPort{port("", state.TCP, "10.244.1.2:53")}, []render.HostPort{port("", state.SCTP, "10.244.1.3:53")}, ""},
		{"it leaves: what was led to the pod", []render.HostPort{old}, nil, "*:*>*:53 10.244.1.2:5353>*:*"},
		{"it comes: what went to the host", nil, []render.HostPort{now}, "*:*>127.0.0.1:53 127.0.0.1:53>*:*, *:*>10.9.0.1:53 10.9.0.1:53>*:*"},
		{"of one address", nil, []render.HostPort{port("fd09::1", state.UDP, "[fd00:1::2]:53")}, "*:*>[fd09::1]:53 [fd09::1]:53>*:*"},
		{"of an address that is not here", nil, []render.HostPort{port("fd09::2", state.UDP, "[fd00:1::2]:53")}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, m := range forget.HostPorts(c.leaving, c.coming, local) {
				if m.Zone != 0 {
					t.Errorf("zone %d", m.Zone)
				}
				got = append(got, m.Original.String()+" "+m.Reply.String())
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
