package db_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/ovs/db"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// ctRows are the rows of the three tables, counted.
func ctRows(ovs *ovstest.OVS) string {
	count := func(table string) int { return strings.Count(ovs.Vsctl("--columns=_uuid", "list", table), "_uuid") }
	return fmt.Sprintf("%d datapaths, %d zones, %d policies", count("Datapath"), count("CT_Zone"), count("CT_Timeout_Policy"))
}

func TestTimeoutsOfZones(t *testing.T) {
	ovs, c := withBridge(t)
	own := ovstest.Datapath()
	other := map[string]string{"netdev": "system", "system": "netdev"}[own]
	short, long := db.Timeouts{"tcp_syn_sent": 5, "udp_single": 6}, db.Timeouts{"tcp_syn_sent": 50}
	for i, step := range []struct {
		name     string
		before   func()
		datapath string
		zones    map[uint16]db.Timeouts
		changed  bool
		rows     string
		zone100  string // as ovs-vsctl prints it for the test's datapath
	}{
		{"two zones", func() {}, own, map[uint16]db.Timeouts{100: short, 300: short}, true, "1 datapaths, 2 zones, 2 policies", "tcp_syn_sent=5 udp_single=6"},
		{"the same", func() {}, own, map[uint16]db.Timeouts{100: short, 300: short}, false, "1 datapaths, 2 zones, 2 policies", "tcp_syn_sent=5 udp_single=6"},
		{"others", func() {}, own, map[uint16]db.Timeouts{100: long, 300: short}, true, "1 datapaths, 2 zones, 2 policies", "tcp_syn_sent=50"},
		{"spoilt", func() { ovs.Vsctl("del-zone-tp", own, "zone=100") }, own, map[uint16]db.Timeouts{100: long, 300: short}, true, "1 datapaths, 2 zones, 2 policies", "tcp_syn_sent=50"},
		{"somebody else's zone", func() { ovs.Vsctl("add-zone-tp", own, "zone=7", "icmp_first=9") }, own, map[uint16]db.Timeouts{100: long}, true, "1 datapaths, 2 zones, 2 policies", "tcp_syn_sent=50"},
		{"somebody else's timeouts of our zone", func() {
			ovs.Vsctl("del-zone-tp", own, "zone=100")
			ovs.Vsctl("add-zone-tp", own, "zone=100", "icmp_first=8")
		}, own, map[uint16]db.Timeouts{100: long}, false, "1 datapaths, 2 zones, 2 policies", "icmp_first=8"},
		{"another datapath", func() { ovs.Vsctl("del-zone-tp", own, "zone=100") }, other, map[uint16]db.Timeouts{100: long}, true, "2 datapaths, 2 zones, 2 policies", ""},
		{"back", func() { ovs.Vsctl("del-zone-tp", own, "zone=7") }, own, map[uint16]db.Timeouts{100: long}, true, "1 datapaths, 1 zones, 1 policies", "tcp_syn_sent=50"},
		{"none", func() {}, own, nil, true, "0 datapaths, 0 zones, 0 policies", ""},
		{"none again", func() {}, own, nil, false, "0 datapaths, 0 zones, 0 policies", ""},
	} {
		step.before()
		// What was done behind the client's back has reached it once what came after has.
		ovs.Vsctl("set", "Open_vSwitch", ".", fmt.Sprintf("external_ids:step=%d", i))
		eventually(t, c, step.name+" is seen", func() bool { return c.OpenvSwitchExternalIDs()["step"] == fmt.Sprint(i) })
		changed, err := c.EnsureTimeouts(t.Context(), step.datapath, step.zones)
		must(t, err)
		must(t, c.WaitApplied(t.Context()))
		zone := ""
		if ctRows(ovs)[0] != '0' && strings.Contains(ovs.Vsctl("get", "Open_vSwitch", ".", "datapaths"), own) {
			for line := range strings.Lines(ovs.Vsctl("list-zone-tp", own)) {
				if _, timeouts, ok := strings.Cut(line, "Zone:100, Timeout Policies: "); ok {
					zone = strings.TrimSpace(timeouts)
				}
			}
		}
		if rows := ctRows(ovs); changed != step.changed || rows != step.rows || zone != step.zone100 {
			t.Errorf("%s: changed %v, %s, zone 100 has %q, want %v, %s, %q", step.name, changed, rows, zone, step.changed, step.rows, step.zone100)
		}
	}
}
