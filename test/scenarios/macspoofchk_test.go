package scenarios

import (
	"net"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// TestTheSpoofGuardOfASecondNetwork: with macspoofchk only the own MAC and those allowed
// leave, whatever the bridge's flows are, which stay as they were; without it, any.
func TestTheSpoofGuardOfASecondNetwork(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	lan(t, l, n)
	ofctl(t, l, "node/n1", "add-flow", "unix:"+n.OVSRunDir+"/br-lan.mgmt", "priority=7,actions=normal")
	before := ofctl(t, l, "node/n1", "dump-flows", "--no-stats", "unix:"+n.OVSRunDir+"/br-lan.mgmt")
	open := func(id, more string) (*device, call) {
		t.Helper()
		c := call{container: id, netns: ovstest.NewNamespace(t).Path, ifname: "net1", conf: lanConf(n, more)}
		plugged(t, n, c)
		return openDevice(t, c.netns, "net1"), c
	}
	ear, earCall := open("ear", `,"promiscMode":true`)
	guarded, guardedCall := open("guarded", `,"macspoofchk":true,"allowed":["00:00:5e:00:01:07","00:00:5e:00:01:08"]`)
	free, freeCall := open("free", "")
	check := func(when string) {
		t.Helper()
		for _, c := range []struct {
			what string
			by   *device
			mac  net.HardwareAddr
			want bool
		}{
			{"its own", guarded, guarded.mac, true},
			{"one that is allowed", guarded, mustMAC("00:00:5e:00:01:07"), true},
			{"the other that is allowed", guarded, mustMAC("00:00:5e:00:01:08"), true},
			{"one that differs at its end", guarded, mustMAC("00:00:5e:00:01:09"), false},
			{"one that differs at its beginning", guarded, mustMAC("02:00:5e:00:01:07"), false},
			{"another's", guarded, free.mac, false},
			{"another's without a guard", free, mustMAC("02:00:00:00:00:99"), true},
		} {
			for _, tag := range []uint16{0} {
				text := unique("guard")
				c.by.send(t, broadcast(t, c.mac, tag, text))
				wait := 2 * time.Second
				if !c.want {
					wait = 300 * time.Millisecond
				}
				if got := ear.hear(t, wait, payload(text)); got != c.want {
					t.Errorf("%s: %s: heard %v", when, c.what, got)
				}
			}
		}
	}
	check("at first")
	// Who may remove it from the host has it back in a moment.
	port := podsOf(t, n)["guarded"].Port
	for _, cmd := range [][]string{{"ip", "link", "set", port, "xdpgeneric", "off"}, {"tc", "qdisc", "del", "dev", port, "clsact"}} {
		_, _ = l.Exec(testContext(t), "node/n1", cmd...) // one of them is what this datapath has
	}
	eventually(t, "the guard is back", func() error {
		text := unique("guard")
		guarded.send(t, broadcast(t, free.mac, 0, text))
		if ear.hear(t, 200*time.Millisecond, payload(text)) {
			return errNotYet
		}
		return nil
	})
	check("after it was taken away")
	if after := ofctl(t, l, "node/n1", "dump-flows", "--no-stats", "unix:"+n.OVSRunDir+"/br-lan.mgmt"); after != before {
		t.Errorf("br-lan's flows were\n%s and are\n%s", before, after)
	}
	for _, c := range []call{earCall, guardedCall, freeCall} {
		unplugged(t, n, c)
	}
	noTraceLeft(t, l, n)
}
