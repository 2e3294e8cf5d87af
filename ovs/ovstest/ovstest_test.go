package ovstest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestToolsTalkToTheirOwnSwitch(t *testing.T) {
	for _, name := range []string{"br-one", "br-two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ovs := ovstest.Start(t)
			ovs.Vsctl("add-br", name, "--", "set", "bridge", name, "datapath_type="+ovstest.Datapath(), "protocols=OpenFlow15")
			if got := ovs.Vsctl("list-br"); got != name {
				t.Errorf("bridges %q", got)
			}
			ovs.Ofctl("add-flow", name, "table=3,priority=7,actions=drop")
			if got := ovs.Ofctl("dump-flows", name, "table=3"); !strings.Contains(got, "priority=7") {
				t.Errorf("flows %q", got)
			}
			if got := ovs.Appctl("version"); !strings.HasPrefix(got, "ovs-vswitchd (Open vSwitch)") {
				t.Errorf("version %q", got)
			}
			ovs.Do(func() {
				if _, err := netlink.LinkByName(name); err != nil {
					t.Errorf("the bridge's own device is not in the namespace: %v", err)
				}
			})
		})
	}
}

func TestNothingIsLeftWhenTheTestEnds(t *testing.T) {
	var ovs *ovstest.OVS
	var pod *ovstest.Namespace
	t.Run("inner", func(t *testing.T) {
		ovs = ovstest.Start(t)
		pod = ovs.AddNS()
	})
	if _, err := os.Stat(ovs.Dir()); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
	for _, path := range []string{ovs.NetNS(), pod.Path} {
		if there, err := netns.Exists(path); there || err != nil {
			t.Errorf("namespace %s is still there: %v, %v", path, there, err)
		}
	}
	if out, err := exec.Command("pgrep", "-f", ovs.Dir()).Output(); err == nil {
		t.Errorf("processes are still there: %s", out)
	}
}

func TestKilledDaemonsStartAgain(t *testing.T) {
	ovs := ovstest.Start(t)
	ovs.Kill(daemon.Vswitchd)
	ovs.Kill(daemon.DB)
	ovs.StartDB()
	ovs.StartVswitchd()
	if !ovs.Alive(daemon.DB) || !ovs.Alive(daemon.Vswitchd) {
		t.Error("not alive")
	}
}

func TestWhatAKilledTestHasLeftIsRemoved(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("sluicet-%d-1", gone.Process.Pid)
	dir := filepath.Join(os.TempDir(), name)
	path, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netns.Delete(name) })
	left, err := daemon.New(dir, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { left.StopAll(context.Background()) })
	if err := left.Start(t.Context()); err != nil {
		t.Fatal(err)
	}

	ovstest.Start(t)

	if left.Alive(daemon.DB) || left.Alive(daemon.Vswitchd) {
		t.Error("a daemon is still there")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
	if there, err := netns.Exists(path); there || err != nil {
		t.Errorf("the namespace is still there: %v, %v", there, err)
	}
}
