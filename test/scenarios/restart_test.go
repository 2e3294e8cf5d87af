package scenarios

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
)

// TestTheAgentComesAndGoesUnnoticed: whatever becomes of the agent, no packet is lost
// and no connection is reset.
func TestTheAgentComesAndGoesUnnoticed(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual})
	serveAll(t, l)
	beside := addStatic(t, l)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	stop := func() { must(l.StopAgent(testContext(t), "n1")) }
	kill := func() { must(l.Kill(testContext(t), "n1", lab.Agent)) }
	start := func() { must(l.Start(testContext(t), "n1", lab.Agent)); ready(t, l, "n1") }
	for _, c := range []struct {
		name    string
		disturb func()
	}{
		{"stopped and away for a while", func() { stop(); time.Sleep(settle); start() }},
		{"killed and away for a while", func() { kill(); time.Sleep(settle); start() }},
		{"restarted", func() { stop(); start() }},
		{"killed five times in a row", func() {
			for range 5 {
				kill()
				must(l.Start(testContext(t), "n1", lab.Agent))
			}
			ready(t, l, "n1")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := typed(t, l, node(t, l, "n1"))
			w := begin(t, l, beside)
			time.Sleep(settle)
			c.disturb()
			time.Sleep(settle)
			w.end(t)
			compare(t, "afterwards", typed(t, l, node(t, l, "n1")), before)
			if n := statusOf(t, node(t, l, "n1")).Flows.Repaired; n > 0 {
				t.Errorf("the new agent took %d flows for somebody else's", n)
			}
		})
	}
}

// buildNext builds an agent with another pipeline: each flow that leads to the last
// table, and each one in it, differs (flows/output_next.go).
func buildNext(t *testing.T) string {
	t.Helper()
	// On a machine without Go whoever made the executables has made it, too.
	if path := executable("sluice-agent-next"); exec.Command(path, "--version").Run() == nil {
		return path
	}
	path := filepath.Join(t.TempDir(), "sluice-agent-next")
	build := exec.Command("go", "build", "-tags", "pipeline_next", "-o", path, "github.com/sluice-cni/sluice/cmd/sluice-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// TestUpgradeAndDowngradeUnderTraffic: an agent with another pipeline takes the node
// over, and gives it back, and nothing is lost.
func TestUpgradeAndDowngradeUnderTraffic(t *testing.T) {
	dir := t.TempDir()
	agent := filepath.Join(dir, "sluice-agent")
	for _, name := range []string{"sluice-agent", "sluice-cni", "sluice-lab", "sluicectl"} {
		if err := os.Symlink(executable(name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	next := buildNext(t)
	l := upFrom(t, dir, lab.Options{Nodes: 2, Families: lab.Dual})
	serveAll(t, l)
	beside := addStatic(t, l)
	n1 := node(t, l, "n1")
	roll := func(t *testing.T, to string) {
		t.Helper()
		if err := os.Remove(agent); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, agent); err != nil {
			t.Fatal(err)
		}
		if err := l.StopAgent(testContext(t), "n1"); err != nil {
			t.Fatal(err)
		}
		if err := l.Start(testContext(t), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
		ready(t, l, "n1")
	}
	before := typed(t, l, n1)
	for _, c := range []struct {
		name, to string
		same     bool
	}{{"upgrade", next, false}, {"downgrade", executable("sluice-agent"), true}} {
		t.Run(c.name, func(t *testing.T) {
			w := begin(t, l, beside)
			time.Sleep(settle)
			roll(t, c.to)
			time.Sleep(settle)
			w.end(t)
			now := typed(t, l, n1)
			if c.same {
				compare(t, "downgraded", now, before)
				return
			}
			if others := without(before, now); len(others) < 10 {
				t.Errorf("only %d of %d flows were others: the upgrade showed nothing", len(others), len(before))
			}
		})
	}
}
