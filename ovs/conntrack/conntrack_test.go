package conntrack_test

import (
	"net/netip"
	"testing"

	"github.com/sluice-cni/sluice/ovs/conntrack"
)

func TestAMatchIsReadAsItWasWritten(t *testing.T) {
	four, six := netip.MustParseAddrPort("10.96.0.10:53"), netip.MustParseAddrPort("[fd00::1]:53")
	for text, m := range map[string]conntrack.Match{
		"zone=100 protocol=17 original=*:*>10.96.0.10:53 reply=10.96.0.10:53>*:*": {
			Zone: 100, Protocol: 17, Original: conntrack.Tuple{Dst: four}, Reply: conntrack.Tuple{Src: four},
		},
		"zone=0 protocol=6 original=*:*>*:53 reply=*:*>*:*": {
			Protocol: 6, Original: conntrack.Tuple{Dst: netip.AddrPortFrom(netip.Addr{}, 53)},
		},
		"zone=1 protocol=17 original=[fd00::1]:53>[fd00::1]:* reply=*:*>*:*": {
			Zone: 1, Protocol: 17, Original: conntrack.Tuple{Src: six, Dst: netip.AddrPortFrom(six.Addr(), 0)},
		},
	} {
		if got := m.String(); got != text {
			t.Errorf("written %q, want %q", got, text)
		}
		if got, err := conntrack.Parse(text); err != nil || got != m {
			t.Errorf("%q is read as %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "zone=1", "zone=x protocol=1 original=*:*>*:* reply=*:*>*:*", "zone=1 protocol=1 original=here>*:* reply=*:*>*:*", "zone=1 protocol=1 original=1.2.3.4:70000>*:* reply=*:*>*:*"} {
		if got, err := conntrack.Parse(bad); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}
