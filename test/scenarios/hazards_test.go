package scenarios

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/test/lab"
)

// check is what `sluicectl check` says on a node, and whether it finds all well.
func check(t *testing.T, l *lab.Lab, place string) (text string, well bool) {
	t.Helper()
	out, err := l.Exec(testContext(t), place, executable("sluicectl"), "check")
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), err == nil
}

// TestAFirewallThatStopsPodsIsNamed, and doing what the check says lets them through.
func TestAFirewallThatStopsPodsIsNamed(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1})
	out := outsideOf(t, l).Addresses[0].String()
	reaches := func() bool {
		_, err := l.Exec(testContext(t), "a1", "ping", "-c", "1", "-W", "1", out)
		return err == nil
	}
	if text, well := check(t, l, "node/n1"); !well {
		t.Fatalf("a fresh node: %s", text)
	}
	if !reaches() {
		t.Fatal("a pod does not reach the outside: what follows would prove nothing")
	}
	for _, c := range []struct{ name, make, named string }{
		{"nftables", "nft add table inet theirs; nft add chain inet theirs forward '{ type filter hook forward priority 0; policy drop; }'", "chain forward of the nftables table inet theirs"},
		{"iptables", "iptables-nft -P FORWARD DROP", "chain FORWARD of iptables-nft' table filter"},
		{"iptables of the old kind", "iptables-legacy -A FORWARD ! -o docker0 -j REJECT", "chain FORWARD of iptables-legacy' table filter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			on(t, l, "node/n1", "sh", "-ec", c.make)
			if reaches() {
				t.Fatal("it does not stop the pod")
			}
			text, well := check(t, l, "node/n1")
			if well || !strings.Contains(text, "hazard: "+c.named) {
				t.Fatalf("the check says: %s", text)
			}
			for line := range strings.Lines(text) {
				if _, hazard, ok := strings.Cut(line, "hazard: "); ok {
					_, cure, _ := strings.Cut(hazard, "outside: ")
					on(t, l, "node/n1", "sh", "-ec", cure)
				}
			}
			if text, well := check(t, l, "node/n1"); !well {
				t.Errorf("after the cure: %s", text)
			}
			if !reaches() {
				t.Error("after the cure the pod does not reach the outside")
			}
		})
	}
}

// TestAQuarrelIsNamed: what somebody else changes again and again is told in words.
func TestAQuarrelIsNamed(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n1 := node(t, l, "n1")
	for range 3 {
		before := statusOf(t, n1).Host.Repaired
		on(t, l, "node/n1", "ip", "route", "del", "10.244.2.0/24")
		eventually(t, "the route is back", func() error {
			if now := statusOf(t, n1).Host.Repaired; now == before {
				return errNotYet
			}
			return nil
		})
	}
	text, _ := check(t, l, "node/n1")
	if !strings.Contains(text, "problem: host: somebody else keeps changing it") || !strings.Contains(text, "add route to 10.244.2.0/24 through sluice0") {
		t.Errorf("the check says: %s", text)
	}
}
