package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fresh returns an Open vSwitch that is not started, and leaves nothing of it.
func fresh(t *testing.T) *daemon.OVS {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-daemon-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := fmt.Sprintf("sluice-daemon-%08x", rand.Uint32())
	path, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netns.Delete(name) })
	ovs, err := daemon.New(dir, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ovs.StopAll(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return ovs
}

func started(t *testing.T) *daemon.OVS {
	t.Helper()
	ovs := fresh(t)
	if err := ovs.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ovs
}

func vsctl(t *testing.T, ovs *daemon.OVS, args ...string) string {
	t.Helper()
	out, err := exec.Command("ovs-vsctl", append([]string{"--db=" + ovs.DBEndpoint(), "--timeout=20"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ovs-vsctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestStartServesAndPutsBothDaemonsInTheNamespace(t *testing.T) {
	ovs := started(t)
	want, err := netnsOf(ovs.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []daemon.Daemon{daemon.DB, daemon.Vswitchd} {
		pid, ok := ovs.PID(d)
		if !ok || !ovs.Alive(d) {
			t.Fatalf("%s does not run", d)
		}
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil || got != want {
			t.Errorf("%s is in %s (%v), want %s", d, got, err, want)
		}
		if _, err := os.Stat(ovs.CtlSocket(d)); err != nil {
			t.Error(err)
		}
	}
	vsctl(t, ovs, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
	if _, err := os.Stat(ovs.MgmtSocket("br0")); err != nil {
		t.Error(err)
	}
}

func netnsOf(path string) (id string, err error) {
	err = netns.Do(path, func() (err error) { id, err = os.Readlink("/proc/thread-self/ns/net"); return })
	return id, err
}

func TestAnotherProcessFindsTheDaemonsByTheirDirectory(t *testing.T) {
	ovs := started(t)
	again, err := daemon.New(ovs.Dir(), ovs.NetNS())
	if err != nil {
		t.Fatal(err)
	}
	before, _ := ovs.PID(daemon.Vswitchd)
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, ok := again.PID(daemon.Vswitchd); !ok || after != before {
		t.Errorf("pid %d, %v; want %d still", after, ok, before)
	}
	if err := again.StopAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ovs.Alive(daemon.DB) || ovs.Alive(daemon.Vswitchd) {
		t.Error("a daemon is still there")
	}
}

func TestStoppedOrKilledDaemonStartsAgainWithItsConfiguration(t *testing.T) {
	ovs := started(t)
	vsctl(t, ovs, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
	ends := map[string]func(daemon.Daemon) error{
		"stopped": func(d daemon.Daemon) error { return ovs.Stop(t.Context(), d) },
		"killed":  ovs.Kill,
	}
	for how, end := range ends {
		for _, d := range []daemon.Daemon{daemon.Vswitchd, daemon.DB} {
			t.Run(string(d)+" "+how, func(t *testing.T) {
				if err := end(d); err != nil {
					t.Fatal(err)
				}
				if ovs.Alive(d) {
					t.Fatal("it is still there")
				}
				if err := end(d); err != nil {
					t.Errorf("once more: %v", err)
				}
				if err := ovs.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				// StartVswitchd has waited: the bridge is there at once.
				if got := vsctl(t, ovs, "--no-wait", "get", "interface", "br0", "ofport"); got != "65534" {
					t.Errorf("ofport %s", got)
				}
			})
		}
	}
}

func TestZombieIsNotAlive(t *testing.T) {
	ovs := fresh(t)
	pidFile := filepath.Join(ovs.Dir(), "ovs-vswitchd.pid")
	// A process that looks like the daemon, and that nobody reaps when it ends.
	cmd := exec.Command("sh", "-c", "echo; read line", "--pidfile="+pidFile)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Start may return before the kernel tells the new command line.
	stdout.Read(make([]byte, 1))
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	if !ovs.Alive(daemon.Vswitchd) {
		t.Error("the process is not recognised while it lives")
	}
	stdin.Close()
	stdout.Read(make([]byte, 1)) // ends when the process does
	if ovs.Alive(daemon.Vswitchd) {
		t.Error("a zombie counts as alive")
	}
	cmd.Wait()
}

func TestForeignProcessInThePidFileIsLeftAlone(t *testing.T) {
	ovs := fresh(t)
	other := exec.Command("cat")
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	pidFile := filepath.Join(ovs.Dir(), "ovs-vswitchd.pid")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(other.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	if ovs.Alive(daemon.Vswitchd) {
		t.Error("it is taken for ovs-vswitchd")
	}
	if err := ovs.Kill(daemon.Vswitchd); err != nil {
		t.Error(err)
	}
	stdin.Close()
	if err := other.Wait(); err != nil {
		t.Errorf("the other process was hurt: %v", err)
	}
}

func TestDaemonThatEndsAtOnceGivesItsLog(t *testing.T) {
	ovs := fresh(t)
	if err := os.WriteFile(filepath.Join(ovs.Dir(), "conf.db"), []byte("no database\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := ovs.StartDB(t.Context())
	if err == nil || !strings.Contains(err.Error(), "it ended") || !strings.Contains(err.Error(), "conf.db") {
		t.Errorf("got %v", err)
	}
}

func TestVswitchdWithoutADatabaseFailsWithinTheBound(t *testing.T) {
	ovs := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ovs.StartVswitchd(ctx); err == nil || !strings.Contains(err.Error(), "start ovs-vswitchd") {
		t.Errorf("got %v", err)
	}
}

func TestTooLongDirectoryIsRefusedWithItsLength(t *testing.T) {
	_, err := daemon.New("/tmp/"+strings.Repeat("x", 100), "")
	if err == nil || !strings.Contains(err.Error(), "at most 85 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestMissingExecutableNamesItsPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := daemon.LookPath("ovs-ofctl")
	if err == nil || !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "openvswitch-common") {
		t.Errorf("got %v", err)
	}
}
