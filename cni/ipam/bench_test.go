package ipam_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/cni/ipam"
)

func sorted(a []netip.Addr) []netip.Addr {
	slices.SortFunc(a, netip.Addr.Compare)
	return a
}

// BenchmarkPick compares a usual node with the worst: one address left in a /16.
func BenchmarkPick(b *testing.B) {
	for _, c := range []struct {
		name, r     string
		held, freed int
	}{
		{"110 pods in a 24", "10.1.0.0/24", 110, 30},
		{"65532 held in a 16", "10.1.0.0/16", 65532, 0},
		{"all but one used in a 16", "10.1.0.0/16", 32766, 32766},
		{"110 pods in an IPv6 64", "fd00::/64", 110, 30},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := prefixes(c.r)
			held, freed := map[netip.Addr]string{}, map[netip.Addr]time.Time{}
			addr := r[0].Addr().Next()
			for range c.held {
				addr = addr.Next()
				held[addr] = "pod"
			}
			for range c.freed {
				addr = addr.Next()
				freed[addr] = now
			}
			for b.Loop() {
				if got, err := ipam.Pick(ipam.Whole(r...), held, freed, now); err != nil || got != addr.Next() {
					b.Fatal(got, err)
				}
			}
		})
	}
}
