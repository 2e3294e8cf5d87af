package lease_test

import (
	"maps"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/flows/state"
)

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func example() lease.Lease {
	return lease.Lease{
		Attachment: state.Attachment{
			Network: "pods", ContainerID: "c0ffee", IfName: "eth0", PodNamespace: "default", PodName: "web-0", PodUID: "u-1",
			Port: "v1", OFPort: 266, MAC: "0a:58:0a:f4:01:0a",
			Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.10"), netip.MustParseAddr("fd00::a")}, Created: 1700000000123456789, MTU: 1450,
		},
		NetNS: "/run/netns/cni-1",
	}
}

func TestExternalIDsAreReadable(t *testing.T) {
	want := map[string]string{
		"sluice-network": "pods", "sluice-container": "c0ffee", "sluice-ifname": "eth0", "sluice-netns": "/run/netns/cni-1",
		"sluice-pod-namespace": "default", "sluice-pod-name": "web-0", "sluice-pod-uid": "u-1",
		"sluice-ips": "10.244.1.10,fd00::a", "sluice-mac": "0a:58:0a:f4:01:0a", "sluice-created": "1700000000123456789", "sluice-mtu": "1450",
	}
	if diff := cmp.Diff(want, example().ExternalIDs()); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsParsedIsWhatWasWritten(t *testing.T) {
	text := rapid.StringN(1, 20, 60)
	rapid.Check(t, func(t *rapid.T) {
		want := lease.Lease{
			Attachment: state.Attachment{
				Network: text.Draw(t, "network"), ContainerID: text.Draw(t, "container"), IfName: text.Draw(t, "ifname"),
				PodNamespace: rapid.String().Draw(t, "pod namespace"), PodName: rapid.String().Draw(t, "pod name"), PodUID: rapid.String().Draw(t, "pod uid"),
				Port: text.Draw(t, "port"), OFPort: uint32(rapid.IntRange(1, 65279).Draw(t, "ofport")),
				MAC:     net.HardwareAddr(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac")).String(),
				Created: rapid.Int64Min(0).Draw(t, "created"), MTU: rapid.IntRange(0, 65535).Draw(t, "mtu"),
			},
			NetNS: rapid.String().Draw(t, "netns"), NetNSInode: rapid.Uint64().Draw(t, "inode"), MTUAsked: rapid.Bool().Draw(t, "MTU asked"), IPAM: rapid.String().Draw(t, "ipam"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "host ports") {
			want.HostPorts = append(want.HostPorts, state.HostPort{
				Protocol: state.UDP, Port: rapid.Uint16().Draw(t, "host port"), PodPort: rapid.Uint16().Draw(t, "pod port"),
				Address: rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1")}).Draw(t, "host IP"),
			})
		}
		for range rapid.IntRange(1, 3).Draw(t, "addresses") {
			four, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "IPv4"))
			six, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "IPv6"))
			want.Addresses = append(want.Addresses, four, six)
		}
		ids := want.ExternalIDs()
		ids["foreign"] = "ignored"
		got, ours, err := lease.Parse(want.Port, int(want.OFPort), ids)
		if err != nil || !ours {
			t.Fatalf("ours %v, %v", ours, err)
		}
		if diff := cmp.Diff(want, got, addrs); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestParseNamesTheBadKey(t *testing.T) {
	tests := []struct{ name, key, value string }{
		{"no MAC", "sluice-mac", ""},
		{"a MAC that is none", "sluice-mac", "0a:58"},
		{"an address that is none", "sluice-ips", "10.0.0.1,10.0.0.256"},
		{"an address with a prefix length", "sluice-ips", "10.0.0.1/24"},
		{"a time that is no number", "sluice-created", "yesterday"},
		{"a host port without a pod's", "sluice-host-ports", "8080/TCP"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ids := example().ExternalIDs()
			ids[test.key] = test.value
			_, ours, err := lease.Parse("v1", 266, ids)
			if !ours || err == nil || !strings.Contains(err.Error(), test.key) || !strings.Contains(err.Error(), `"v1"`) {
				t.Errorf("ours %v, %v", ours, err)
			}
		})
	}
}

func TestPortsThatAreNotOursAreNoLeases(t *testing.T) {
	for _, ids := range []map[string]string{nil, {"iface-id": "x"}} {
		if _, ours, err := lease.Parse("gw", 2, ids); ours || err != nil {
			t.Errorf("%v: ours %v, %v", ids, ours, err)
		}
	}
}

func TestFreedAddressesAreReadAndNonsenseIsLeftOut(t *testing.T) {
	four, six := netip.MustParseAddr("10.244.1.10"), netip.MustParseAddr("fd00::a")
	when := time.Unix(1700000000, 999)
	ids := map[string]string{lease.FreedKey(four): lease.FreedValue(when), lease.FreedKey(six): lease.FreedValue(when)}
	if diff := cmp.Diff(map[string]string{"sluice-freed-10.244.1.10": "1700000000", "sluice-freed-fd00::a": "1700000000"}, ids); diff != "" {
		t.Error(diff)
	}
	maps.Copy(ids, map[string]string{"sluice-freed-nonsense": "1", "sluice-freed-10.0.0.1": "soon", "foreign": "1"})
	want := map[netip.Addr]time.Time{four: time.Unix(1700000000, 0), six: time.Unix(1700000000, 0)}
	if diff := cmp.Diff(want, lease.Freed(ids), addrs); diff != "" {
		t.Error(diff)
	}
}
