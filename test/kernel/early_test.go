//go:build kernel

package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// TestASwitchThatStartedTooEarlyIsNamed: an ovs-vswitchd whose clock said less than 10
// seconds when it started takes no packet from the kernel, for as long as it runs. The
// agent finds out, says so with the cure, and takes it back when the cure was applied.
// A time namespace stands for a machine that has just booted.
func TestASwitchThatStartedTooEarlyIsNamed(t *testing.T) {
	l := up(t, 2)
	n := node(t, l, "n1")
	if err := l.Kill(t.Context(), "n1", lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	var uptime float64
	if _, err := fmt.Sscan(string(text), &uptime); err != nil {
		t.Fatal(err)
	}
	run(t, l, "node/n1", "unshare", "--time", fmt.Sprintf("--monotonic=-%d", int(uptime)-2), "--fork",
		"ovs-vswitchd", "unix:"+n.OVSRunDir+"/db.sock", "--pidfile="+n.OVSRunDir+"/ovs-vswitchd.pid",
		"--unixctl="+n.OVSRunDir+"/ovs-vswitchd.ctl", "--log-file="+n.OVSRunDir+"/ovs-vswitchd.log", "--detach", "--no-chdir", "-vconsole:off", "-vsyslog:off")
	named := func() bool {
		return strings.Contains(strings.Join(status(t, l, "n1").Problems, "\n"), "forwards no new connection")
	}
	until := func(what string, ok func() error) {
		t.Helper()
		end := time.Now().Add(slow.Bound(20 * time.Second))
		for {
			err := ok()
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", what, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	until("the switch is named", func() error {
		if r := reach(t, l, "a1", "b1", 0); r.Reached {
			return errors.New("a new connection passes: this switch is not deaf")
		}
		if !named() {
			return fmt.Errorf("problems: %q", status(t, l, "n1").Problems)
		}
		return nil
	})
	if status(t, l, "n1").Ready {
		t.Error("the node counts as ready")
	}
	if err := l.Kill(t.Context(), "n1", lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context(), "n1", lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	until("all is well again", func() error {
		if r := reach(t, l, "a1", "b1", 0); !r.Reached {
			return errors.New(r.Error)
		}
		if named() {
			return errors.New("the switch is still named")
		}
		return nil
	})
}
