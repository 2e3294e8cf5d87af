package lease_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/flows/state"
)

func TestAnAliasIsTheLease(t *testing.T) {
	want := example()
	want.NetNSInode, want.IPAM = 4026532508, "host-local"
	want.HostPorts = []state.HostPort{{Protocol: state.TCP, Port: 8080, PodPort: 80}}
	got, err := lease.ParseAlias(want.Port, want.Alias())
	if err != nil {
		t.Fatal(err)
	}
	want.NetNS, want.MTU = "", 0 // found by the inode; the cable itself says
	if diff := cmp.Diff(want, got, addrs); diff != "" {
		t.Error(diff)
	}
}

func TestALongAliasKeepsWhatIsNeeded(t *testing.T) {
	l := example()
	l.ContainerID, l.PodName, l.PodUID = strings.Repeat("ab", 32), strings.Repeat("x", 253), "11111111-2222-3333-4444-555555555555"
	l.Addresses = l.Addresses[:1]
	alias := l.Alias()
	if len(alias) > 255 {
		t.Errorf("%d bytes: %s", len(alias), alias)
	}
	got, err := lease.ParseAlias(l.Port, alias)
	if err != nil || got.Key() != l.Key() || got.PodUID != l.PodUID || got.PodName != "" || got.Addresses[0] != l.Addresses[0] || got.HostPortsOfPod {
		t.Errorf("%+v, %v", got, err)
	}
	for port := range uint16(20) {
		l.HostPorts = append(l.HostPorts, state.HostPort{Protocol: state.TCP, Port: 8000 + port, PodPort: 80})
	}
	alias = l.Alias()
	got, err = lease.ParseAlias(l.Port, alias)
	if err != nil || len(alias) > 255 || got.Key() != l.Key() || got.PodUID != l.PodUID || !got.HostPortsOfPod || got.HostPorts != nil {
		t.Errorf("%d bytes: %s: %+v, %v", len(alias), alias, got, err)
	}
}

func TestAnAliasThatIsNoLease(t *testing.T) {
	for _, alias := range []string{"", "sluice: being removed", "sluice: pod default/a1 eth0", "eth0", "sluice: net=a if=b id=c ip=10.0.0.999 mac=0a580af4010a of=1 t=1 ino=1"} {
		if l, err := lease.ParseAlias("p", alias); err == nil {
			t.Errorf("%q is read: %+v", alias, l)
		}
	}
}

func FuzzParseAlias(f *testing.F) {
	f.Add(example().Alias())
	f.Fuzz(func(t *testing.T, alias string) {
		l, err := lease.ParseAlias("p", alias)
		if err == nil && (l.Network == "" || l.ContainerID == "" || l.IfName == "" || len(l.Addresses) == 0 && !l.Layer2.Is()) {
			t.Errorf("%+v", l)
		}
	})
}

func TestOnlyWhatHasRestedIsForgotten(t *testing.T) {
	now := time.Unix(100000, 0)
	freed := map[netip.Addr]time.Time{}
	a := netip.MustParseAddr("10.0.0.0")
	for i := range 4100 {
		freed[a] = now.Add(-time.Duration(i) * time.Second)
		a = a.Next()
	}
	if keys := lease.Forget(freed, now.Add(-time.Minute)); len(keys) != 4 || keys[0] != lease.FreedKey(a.Prev()) {
		t.Errorf("%v", keys)
	}
	if keys := lease.Forget(freed, now.Add(-time.Hour*24)); len(keys) != 0 {
		t.Errorf("%v", keys)
	}
}
