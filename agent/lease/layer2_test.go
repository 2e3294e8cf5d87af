package lease_test

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/conf"
)

// second are examples of all that a second network and rates put into a lease.
func second() map[string]lease.Lease {
	out := map[string]lease.Lease{}
	for name, layer2 := range map[string]conf.Layer2{
		"access":  {Bridge: "br-lan", VLAN: 7},
		"trunk":   {Bridge: "br-lan", VLAN: 2, Trunk: []int{3, 4, 5, 9, 11, 12}},
		"guarded": {Bridge: "br-lan", SpoofGuard: true, Allowed: []net.HardwareAddr{{0, 0, 0x5e, 0, 1, 7}}, Promiscuous: true},
		"device":  {Device: "eth1"},
	} {
		l := example()
		l.Addresses, l.IPAM, l.OFPort, l.Layer2 = nil, "dhcp", 0, layer2
		out[name] = l
	}
	l := example()
	l.Rates = conf.Rates{Ingress: conf.NewRate(20_000_000), Egress: conf.Rate{Bits: 1_000_000, Burst: 99_000}}
	out["rates"] = l
	return out
}

func TestASecondNetworksLeaseIsRead(t *testing.T) {
	for name, want := range second() {
		t.Run(name, func(t *testing.T) {
			want.DeviceAlias = "the operator's own"
			got, ours, err := lease.Parse(want.Port, int(want.OFPort), want.ExternalIDs())
			if diff := cmp.Diff(want, got, addrs); diff != "" || !ours || err != nil {
				t.Errorf("%v, %v: %s", ours, err, diff)
			}
			want.DeviceAlias = ""
			got, err = lease.ParseAlias(want.Port, want.Alias())
			want.NetNS, want.MTU = "", 0
			if diff := cmp.Diff(want, got, addrs); diff != "" || err != nil {
				t.Errorf("alias %q: %v: %s", want.Alias(), err, diff)
			}
		})
	}
}

func TestAMovedDevicesRow(t *testing.T) {
	want := second()["device"]
	ids := map[string]string{
		want.DeviceKey(): want.DeviceValue(), "sluice-freed-10.0.0.1": "5",
		"sluice-moved-bad": "{}", "sluice-moved-worse": "nonsense", "sluice-moved-port": second()["access"].DeviceValue(),
	}
	got, problems := lease.Devices(ids)
	if diff := cmp.Diff([]lease.Lease{want}, got, addrs); diff != "" || len(problems) != 3 {
		t.Errorf("%v: %s", problems, diff)
	}
}
