package db_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/ovs/db"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// qosRows counts the rows of both root tables.
func qosRows(t *testing.T, ovs *ovstest.OVS) int {
	t.Helper()
	return strings.Count(ovs.Vsctl("--columns=_uuid", "list", "QoS")+ovs.Vsctl("--columns=_uuid", "list", "Queue"), "_uuid")
}

func TestALimitComesAndGoesWithItsPort(t *testing.T) {
	ovs, c := withBridge(t)
	addVeths(t, ovs, "veth1")
	limit := db.Limit{Rate: 20_000_000, Burst: 800_000}
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "veth1", Limit: &limit}, db.BridgeNote{}))
	if _, err := c.WaitPort(t.Context(), "br0", "veth1"); err != nil {
		t.Fatal(err)
	}
	if _, got := c.PortSettings("veth1"); got != limit || qosRows(t, ovs) != 2 {
		t.Errorf("limit %+v, %d rows", got, qosRows(t, ovs))
	}
	if out := ovs.Appctl("qos/show", "veth1"); !strings.Contains(out, "linux-htb") || !strings.Contains(out, "20000000") {
		t.Errorf("ovs-vswitchd has not taken it: %s", out)
	}
	other := db.Limit{Rate: 30_000_000, Burst: 900_000}
	for _, step := range []struct {
		name    string
		limit   *db.Limit
		changed bool
		want    db.Limit
		rows    int
	}{
		{"the same", &limit, false, limit, 2},
		{"nothing said", nil, false, limit, 2},
		{"another", &other, true, other, 2},
		{"none", &db.Limit{}, true, db.Limit{}, 0},
		{"none again", &db.Limit{}, false, db.Limit{}, 0},
		{"one again", &limit, true, limit, 2},
	} {
		changed, err := c.EnsurePort(t.Context(), "br0", db.PortSpec{Name: "veth1", Limit: step.limit}, db.BridgeNote{})
		must(t, err)
		if _, got := c.PortSettings("veth1"); changed != step.changed || got != step.want || qosRows(t, ovs) != step.rows {
			t.Errorf("%s: changed %v, limit %+v, %d rows", step.name, changed, got, qosRows(t, ovs))
		}
	}
	if _, err := c.DeletePort(t.Context(), "br0", "veth1", db.BridgeNote{}); err != nil {
		t.Fatal(err)
	}
	if n := qosRows(t, ovs); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestWhatNoPortHasIsSweptAndWhatIsNotOursIsNot(t *testing.T) {
	ovs, c := withBridge(t)
	addVeths(t, ovs, "veth1", "veth2", "veth3")
	for _, name := range []string{"veth1", "veth2"} {
		must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: name, Limit: &db.Limit{Rate: 1_000_000, Burst: 80_000}}, db.BridgeNote{}))
	}
	ovs.Vsctl("add-port", "br0", "veth3", "--", "set", "port", "veth3", "qos=@q", "--", "--id=@q", "create", "QoS", "type=linux-htb", "other_config:max-rate=5000000")
	ovs.Vsctl("create", "QoS", "type=linux-htb", "other_config:max-rate=5000000")
	ovs.Vsctl("del-port", "br0", "veth1")
	eventually(t, c, "the port is gone", func() bool { _, there := c.Port("br0", "veth1"); return !there })
	if n, err := c.SweepLimits(t.Context()); n != 2 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if n, err := c.SweepLimits(t.Context()); n != 0 || err != nil {
		t.Errorf("swept %d the second time, %v", n, err)
	}
	if n := qosRows(t, ovs); n != 4 {
		t.Errorf("%d rows are left, want veth2's two and two foreign ones", n)
	}
	// A foreign limit is no limit of ours, and is not taken away.
	if changed, err := c.EnsurePort(t.Context(), "br0", db.PortSpec{Name: "veth3", Limit: &db.Limit{}}, db.BridgeNote{}); changed || err != nil {
		t.Errorf("changed %v, %v", changed, err)
	}
	if _, err := c.DeletePort(t.Context(), "br0", "veth3", db.BridgeNote{}); err != nil {
		t.Fatal(err)
	}
	if n := qosRows(t, ovs); n != 4 {
		t.Errorf("%d rows are left after a port with a foreign limit went", n)
	}
}

func TestAPortsVLANs(t *testing.T) {
	ovs, c := withBridge(t)
	addVeths(t, ovs, "veth1")
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "veth1", VLANs: &db.VLANs{Tag: 7}}, db.BridgeNote{}))
	look := func() string {
		return strings.Join(strings.Fields(ovs.Vsctl("get", "port", "veth1", "tag", "trunks", "vlan_mode")), "|")
	}
	for _, step := range []struct {
		vlans *db.VLANs
		want  string
	}{
		{nil, "7|[]|access"},
		{&db.VLANs{Tag: 0}, "0|[]|access"},
		{&db.VLANs{Tag: db.NoTag, Trunks: []int{4, 5}}, "[]|[4,|5]|trunk"},
		{&db.VLANs{Tag: 9, Trunks: []int{4}}, "9|[4]|native-untagged"},
	} {
		changed, err := c.EnsurePort(t.Context(), "br0", db.PortSpec{Name: "veth1", VLANs: step.vlans}, db.BridgeNote{})
		must(t, err)
		if changed != (step.vlans != nil) || look() != step.want {
			t.Errorf("%+v: changed %v, %s, want %s", step.vlans, changed, look(), step.want)
		}
		if again, err := c.EnsurePort(t.Context(), "br0", db.PortSpec{Name: "veth1", VLANs: step.vlans}, db.BridgeNote{}); again || err != nil {
			t.Errorf("%+v: changed again, %v", step.vlans, err)
		}
		if got, _ := c.PortSettings("veth1"); step.vlans != nil && cmp.Diff(step.vlans, got) != "" {
			t.Errorf("read %+v, want %+v", got, step.vlans)
		}
	}
}
