package scenarios

import (
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// TestUninstallLeavesTheOperatorsThings: its bridge is there without ports of ours, its
// device is home, and no row of QoS or of conntrack's timeouts is left; as long as anybody is plugged in it refuses.
func TestUninstallLeavesTheOperatorsThings(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	lan(t, l, n)
	spare(t, l, n)
	before := home(t, n)
	ns := ovstest.NewNamespace(t).Path
	added(t, n, call{container: "c", netns: ns, conf: confWith(n, bandwidthOf(10_000_000, 20_000_000))})
	plugged(t, n, call{container: "c", netns: ns, ifname: "net1", conf: lanConf(n, `,"vlan":7,"bandwidth":{"ingressRate":10000000}`+staticIPAM("10.99.0.1/24"))})
	plugged(t, n, call{container: "c", netns: ns, ifname: "net2", conf: confWith(n, `"device":"spare0"`)})
	if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	argv := []string{executable("sluicectl"), "uninstall-node", "--ovs-db", "unix:" + n.OVSRunDir + "/db.sock", "--run-dir", dir, "--cni-conf", dir + "/conf", "--cni-plugin", dir + "/plugin"}
	if out, err := l.Exec(testContext(t), "node/n1", argv...); err == nil || !strings.Contains(string(out)+err.Error(), "3 containers are still plugged in") {
		t.Errorf("it does not refuse: %v: %s", err, out)
	}
	on(t, l, "node/n1", append(argv, "--force")...)
	if bridges := vsctlOn(t, l, n, "list-br"); strings.Contains(bridges, "br-sluice") || !strings.Contains(bridges, "br-lan") {
		t.Errorf("bridges are %s", bridges)
	}
	if h := home(t, n); h != before {
		t.Errorf("the device is %s, was %s", h, before)
	}
	for _, table := range []string{"Datapath", "CT_Zone", "CT_Timeout_Policy"} {
		if rows := vsctlOn(t, l, n, "--columns=_uuid", "list", table); rows != "" {
			t.Errorf("left in %s: %s", table, rows)
		}
	}
	on(t, l, "node/n1", "ip", "link", "del", "spare0")
	noTraceLeft(t, l, n)
}
