package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/agent/api"
)

func TestPodsAreATable(t *testing.T) {
	now := time.Unix(1000000, 0)
	var out strings.Builder
	err := printPods(&out, []api.PodStatus{
		{
			Pod: "shop/cart", Network: "sluice", IfName: "eth0", ContainerID: "0123456789abcdef", OFPort: 258, Addresses: []string{"10.244.1.2", "fd00::2"},
			HostPorts: []string{"8080:80/TCP", "10.9.0.1:53:5353/UDP"},
			MAC:       "0a:58:0a:f4:01:02", Created: now.Add(-90 * time.Minute), State: api.PodPlugged,
		},
		{
			Network: "sluice", IfName: "eth0", ContainerID: "c1", OFPort: 259, Addresses: []string{"10.244.1.3"},
			MAC: "0a:58:0a:f4:01:03", Created: now.Add(-3 * time.Second), State: api.PodOrphan, Reason: "its Pod is gone",
		},
		{
			Network: "lan", IfName: "net1", ContainerID: "c1", OFPort: 3, Bridge: "br-lan", VLAN: 7, Trunk: []int{8, 9},
			MAC: "06:00:00:00:00:01", Created: now.Add(-3 * time.Second), State: api.PodPlugged,
		},
	}, now)
	const want = `POD        NETWORK  INTERFACE  CONTAINER      ON                        OFPORT  ADDRESSES           HOST PORTS                        MAC                AGE  STATE
shop/cart  sluice   eth0       0123456789abc  br-sluice                 258     10.244.1.2,fd00::2  8080:80/TCP,10.9.0.1:53:5353/UDP  0a:58:0a:f4:01:02  1h   plugged
-          sluice   eth0       c1             br-sluice                 259     10.244.1.3          -                                 0a:58:0a:f4:01:03  3s   orphan: its Pod is gone
-          lan      net1       c1             br-lan vlan 7 trunk of 2  3                           -                                 06:00:00:00:00:01  3s   plugged
`
	if diff := cmp.Diff(want, out.String()); err != nil || diff != "" {
		t.Error(err, diff)
	}
}
