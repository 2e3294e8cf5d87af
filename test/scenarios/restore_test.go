package scenarios

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/test/lab"
)

// TestFlowRestoreWaitIsTheAgents: a starting ovs-vswitchd that finds this key forwards
// nothing new until somebody removes it. On the kernel's datapath the agent keeps it
// armed; on a userspace one it takes it away, whoever has set it.
func TestFlowRestoreWaitIsTheAgents(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1})
	n := node(t, l, "n1")
	vsctl := func(args ...string) string {
		t.Helper()
		out, err := l.Exec(testContext(t), "node/n1", append([]string{"ovs-vsctl", "--no-wait"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	key := func() string {
		return vsctl("--if-exists", "get", "open_vswitch", ".", "other_config:flow-restore-wait")
	}
	set := []string{"set", "open_vswitch", ".", "other_config:flow-restore-wait=true"}
	remove := []string{"remove", "open_vswitch", ".", "other_config", "flow-restore-wait"}
	want, disturb, shown := "", set, "set by somebody"
	if statusOf(t, n).Bridge.Datapath == "system" {
		want, disturb, shown = `"true"`, remove, "armed"
	}
	settled := func() error {
		if got := key(); got != want {
			return fmt.Errorf("the key is %q, want %q", got, want)
		}
		return nil
	}
	eventually(t, "the agent has seen to it", settled)
	vsctl(disturb...)
	eventually(t, "after somebody changed it", settled)

	// While ovs-vswitchd is away nobody can be released.
	if err := l.Kill(testContext(t), "n1", lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	vsctl(set...)
	eventually(t, "the status shows it", func() error {
		if got := statusOf(t, n).Bridge.RestoreWait; !strings.Contains(got, shown) {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	if err := l.Start(testContext(t), "n1", lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	eventually(t, "after ovs-vswitchd has started", settled)
	eventually(t, "pods talk", func() error {
		results, err := l.Probe(testContext(t), lab.ProbeRequest{
			From: []lab.Endpoint{{Kind: lab.PodEndpoint, Namespace: "default", Name: "a1"}},
			To:   []lab.Endpoint{{Kind: lab.PodEndpoint, Namespace: "default", Name: "b1"}}, Protocol: "icmp",
		})
		if err == nil && !results[0].Reached {
			err = fmt.Errorf("%+v", results[0])
		}
		return err
	})
}
