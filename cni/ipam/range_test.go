package ipam_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/cni/ipam"
)

var narrow = ipam.Range{
	Prefix: netip.MustParsePrefix("10.1.0.0/28"), Gateway: netip.MustParseAddr("10.1.0.14"),
	First: netip.MustParseAddr("10.1.0.4"), Last: netip.MustParseAddr("10.1.0.14"),
	Exclude: []netip.Prefix{netip.MustParsePrefix("10.1.0.6/31"), netip.MustParsePrefix("10.1.0.9/32"), netip.MustParsePrefix("10.9.0.0/16")},
}

func TestARangeGivesWhatItsBoundsGatewayAndExclusionsLeave(t *testing.T) {
	for name, c := range map[string]struct {
		r    ipam.Range
		want string
	}{
		"all of these":         {narrow, "4 5 8 10 11 12 13"},
		"the whole prefix":     {ipam.Range{Prefix: netip.MustParsePrefix("10.1.0.0/29")}, "2 3 4 5 6"},
		"the gateway's inside": {ipam.Range{Prefix: netip.MustParsePrefix("10.1.0.0/29"), Gateway: netip.MustParseAddr("10.1.0.3")}, "1 2 4 5 6"},
		"all excluded":         {ipam.Range{Prefix: netip.MustParsePrefix("10.1.0.0/29"), Exclude: prefixes("10.0.0.0/8")}, ""},
		"exclusions overlap":   {ipam.Range{Prefix: netip.MustParsePrefix("10.1.0.0/28"), Exclude: prefixes("10.1.0.8/29", "10.1.0.8/30", "10.1.0.2/31")}, "4 5 6 7"},
		"bounds of one":        {ipam.Range{Prefix: netip.MustParsePrefix("10.1.0.0/28"), First: netip.MustParseAddr("10.1.0.7"), Last: netip.MustParseAddr("10.1.0.7")}, "7"},
	} {
		t.Run(name, func(t *testing.T) {
			held := map[netip.Addr]string{}
			var got []string
			for {
				a, err := ipam.Pick([]ipam.Range{c.r}, held, nil, now)
				if errors.Is(err, ipam.ErrExhausted) {
					break
				}
				if err != nil || held[a] != "" {
					t.Fatal(a, err)
				}
				held[a] = "somebody"
				got = append(got, strings.TrimPrefix(a.String(), "10.1.0."))
			}
			if s := strings.Join(got, " "); s != c.want || int(c.r.Capacity()) != len(got) {
				t.Errorf("gives %q, want %q; capacity %d", s, c.want, c.r.Capacity())
			}
		})
	}
}

func TestAnAddressThatIsAskedFor(t *testing.T) {
	both := append(ipam.Whole(netip.MustParsePrefix("10.2.0.0/24"), netip.MustParsePrefix("fd00::/64")), narrow)
	for addr, says := range map[string]string{
		"10.2.0.9": "", "fd00::9": "", "10.1.0.5": "",
		"10.1.0.6": "", // excluded: kept for those who ask
		"10.2.0.0": "network's own", "10.2.0.1": "gateway's", "10.2.0.255": "broadcast", "fd00::1": "gateway's",
		"10.1.0.14": "gateway's", "10.1.0.3": "outside of what is given: 10.1.0.0/28 (10.1.0.4 to 10.1.0.14)",
		"10.3.0.1": "outside of this node's ranges: 10.2.0.0/24, fd00::/64, 10.1.0.0/28 (10.1.0.4 to 10.1.0.14)",
	} {
		err := ipam.Grant(both, netip.MustParseAddr(addr))
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", addr, err, says)
		}
	}
}
