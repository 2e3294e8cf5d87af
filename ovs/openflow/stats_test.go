package openflow_test

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// inject makes a packet of 64 bytes come in by the bridge's own port, n times.
func inject(ovs *ovstest.OVS, n int) {
	for range n {
		ovs.Ofctl("packet-out", "br0", "in_port=LOCAL,packet=ffffffffffff0000000000010800"+strings.Repeat("00", 50)+",actions=TABLE")
	}
}

func TestGroupsAndTablesAreCounted(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	toGroup := drop(0, 1, nil)
	toGroup.Actions = []flows.Action{flows.ToGroup{Group: 7}}
	apply(t, c, openflow.Change{
		PutGroups: []flows.Group{{ID: 7, Buckets: []flows.Bucket{bucket(1, 1, flows.OutputTo{Port: 4}), bucket(2, 0, flows.OutputTo{Port: 4})}}},
		Add:       []flows.Flow{toGroup, drop(3, 1, nil), drop(3, 2, nil)},
	})
	inject(ovs, 3)
	groups, err := c.GroupStats(t.Context())
	if err != nil || len(groups) != 1 {
		t.Fatalf("%v %v", groups, err)
	}
	g := groups[0]
	want := flows.Stats{Packets: 3, Bytes: 3 * 64}
	if g.ID != 7 || g.References != 1 || g.Total != want || len(g.Buckets) != 2 || g.Buckets[0] != want || g.Age <= 0 {
		t.Errorf("%+v", g)
	}
	tables, err := c.TableStats(t.Context())
	if err != nil || len(tables) < 254 {
		t.Fatalf("%v %v", len(tables), err)
	}
	if tables[0].Flows != 1 || tables[0].Matched != 3 || tables[0].Lookups != 3 || tables[3].Table != 3 || tables[3].Flows != 2 {
		t.Errorf("%+v, %+v", tables[0], tables[3])
	}
}

func TestManyGroupsAreCountedInMorePartsThanOne(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	var change openflow.Change
	for i := range uint32(4000) {
		change.PutGroups = append(change.PutGroups, flows.Group{ID: i, Buckets: []flows.Bucket{bucket(1, 1, flows.OutputTo{Port: 4})}})
	}
	apply(t, c, change)
	stats, err := c.GroupStats(t.Context())
	if err != nil || len(stats) != len(change.PutGroups) {
		t.Errorf("%d, %v", len(stats), err)
	}
}

func TestPortsAreDescribedAndCounted(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	args := []string{}
	for _, name := range []string{"a1", "b2"} {
		args = append(args, "--", "add-port", "br0", name, "--", "set", "interface", name, "type=internal")
	}
	ovs.Vsctl(append(args, "--", "set", "interface", "b2", "ofport_request=77", `mac="02:00:00:00:00:77"`)...)
	ports, err := c.Ports(t.Context())
	if err != nil || len(ports) != 3 {
		t.Fatalf("%+v, %v", ports, err)
	}
	byName := map[string]openflow.Port{}
	for _, p := range ports {
		byName[p.Name] = p
	}
	if p := byName["b2"]; p.Number != 77 || p.MAC.String() != "02:00:00:00:00:77" || !p.Down {
		t.Errorf("%+v", p)
	}
	if p := byName["br0"]; p.Number != flows.PortLocal {
		t.Errorf("%+v", p)
	}
	ovs.Namespace.Do(func() { // the kernel's datapath counts nothing of a device that is down
		if err := netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "b2"}}); err != nil {
			t.Error(err)
		}
	})
	f := drop(0, 1, nil)
	f.Actions = []flows.Action{flows.OutputTo{Port: 77}}
	apply(t, c, openflow.Change{Add: []flows.Flow{f}})
	inject(ovs, 2)
	stats, err := c.PortStats(t.Context())
	if err != nil || len(stats) != 3 {
		t.Fatalf("%+v, %v", stats, err)
	}
	for _, s := range stats {
		if s.Port == 77 && s.Sent.Packets+s.SendDropped+s.SendErrors == 0 {
			t.Errorf("%+v", s)
		}
	}
}
