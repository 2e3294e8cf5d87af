package scenarios

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// TestEveryVerbOnASecondNetwork in every version, as a runtime does, with the real
// host-local, and tuning behind.
func TestEveryVerbOnASecondNetwork(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	lan(t, l, n)
	store := t.TempDir()
	ctx := testContext(t)
	for i, version := range wire.Versions() {
		t.Run(version, func(t *testing.T) {
			name := fmt.Sprintf("lan%d", i)
			r := newRuntime(t, n, name, version,
				map[string]any{
					"type": "sluice", "bridge": "br-lan", "vlan": 7, "macspoofchk": true, "bandwidth": map[string]any{"ingressRate": 10000000, "egressRate": 10000000},
					"ipam": map[string]any{"type": "host-local", "dataDir": store, "ranges": [][]map[string]any{{{"subnet": "10.99.0.0/24"}}, {{"subnet": "fd99::/64"}}}, "routes": []map[string]any{{"dst": "192.0.2.0/24"}}},
				},
				map[string]any{"type": "tuning", "sysctl": map[string]any{"net.ipv4.conf.IFNAME.arp_filter": "1"}})
			c := &libcni.RuntimeConf{ContainerID: "c", NetNS: ovstest.NewNamespace(t).Path, IfName: "net1"}
			leases := func() int {
				four, _ := filepath.Glob(filepath.Join(store, name, "10.*"))
				six, _ := filepath.Glob(filepath.Join(store, name, "fd99*"))
				return len(four) + len(six)
			}
			var added types.Result
			if err := r.do(func() (err error) { added, err = r.cni.AddNetworkList(ctx, r.list, c); return err }); err != nil {
				t.Fatalf("ADD: %v", err)
			}
			result, err := types100.NewResultFromResult(added)
			if err != nil || added.Version() != version || len(result.IPs) != 2 || len(result.Routes) != 1 || len(result.Interfaces) != 2 || leases() != 2 {
				t.Errorf("%v: %v, %d leases", err, added, leases())
			}
			if version != "0.3.1" {
				if err := r.check(ctx, c); err != nil {
					t.Errorf("CHECK: %v", err)
				}
				if err := netns.Do(c.NetNS, func() error { return exec.Command("ip", "route", "del", "192.0.2.0/24").Run() }); err != nil {
					t.Fatal(err)
				}
				if err := r.check(ctx, c); err == nil || !strings.Contains(err.Error(), "the routes by interface net1: expected 192.0.2.0/24 via 10.99.0.1") {
					t.Errorf("CHECK without the route: %v", err)
				}
			}
			gc := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: "c", IfName: "net1"}}}
			if err := r.do(func() error { return r.cni.GCNetworkList(ctx, r.list, gc) }); err != nil || leases() != 2 {
				t.Errorf("GC that lists it: %v, %d leases", err, leases())
			}
			for range 2 {
				if err := r.del(ctx, c); err != nil || leases() != 0 {
					t.Errorf("DEL: %v, %d leases", err, leases())
				}
			}
		})
	}
	noTraceLeft(t, l, n)
}
