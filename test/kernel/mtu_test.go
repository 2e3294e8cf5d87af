//go:build kernel

package kernel

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// TestAChangeOfTheUnderlaysMTULosesNothing that fits into both, on one node or across, by either family.
func TestAChangeOfTheUnderlaysMTULosesNothing(t *testing.T) {
	l := up(t, 2, 1)
	a1, b1, a2 := pod(t, l, "a1"), pod(t, l, "b1"), pod(t, l, "a2")
	streams := []*traffic.Stream{
		traffic.Ping(t, "ping on one node", a1.Netns, b1.Addresses[0]),
		traffic.Ping(t, "ping across nodes", a1.Netns, a2.Addresses[0]),
		traffic.Ping(t, "IPv6 ping across nodes", a2.Netns, b1.Addresses[1]),
		traffic.Ping(t, "ping to outside", a1.Netns, outside(t, l).Addresses[0]),
	}
	for _, s := range streams {
		s.Begin()
	}
	settle := slow.Bound(500 * time.Millisecond)
	time.Sleep(settle)
	for _, underlay := range []int{1400, 1500, 1400} {
		for _, name := range []string{"n1", "n2"} {
			run(t, l, "node/"+name, "ip", "link", "set", "phy", "mtu", fmt.Sprint(underlay))
		}
		for _, name := range []string{"a1", "b1", "a2"} {
			eventually(t, "the MTU of "+name, 20*time.Second, func() error {
				if link := run(t, l, name, "ip", "-o", "link", "show", "eth0"); !strings.Contains(link, fmt.Sprintf(" mtu %d ", underlay-50)) {
					return fmt.Errorf("it is %s", link)
				}
				return nil
			})
		}
		time.Sleep(settle)
	}
	for _, s := range streams {
		s.End(t)
	}
}
