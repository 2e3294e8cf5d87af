package lab_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

func TestDownLeavesNothing(t *testing.T) {
	l := up(t, lab.Options{})
	for range 2 { // the second time there is nothing, which is no error
		if err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		expectGone(t, l.Name())
	}
}

func TestDownAfterACrashLeavesNothing(t *testing.T) {
	dir := binaries(t)
	for _, after := range []int{10, 30, 60, 100, 150, 200, 300, 400} {
		name := newName()
		cmd := exec.Command(filepath.Join(dir, "sluice-lab"), "up", "--name", name)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(slow.Bound(time.Duration(after) * time.Millisecond))
		cmd.Process.Kill()
		cmd.Wait()
		if err := lab.Down(t.Context(), name, testOutput{t}); err != nil {
			t.Error(err)
		}
		expectGone(t, name)
	}
}

func TestAnInterruptedUpLeavesNothing(t *testing.T) {
	dir := binaries(t)
	for _, after := range []int{30, 100, 200} {
		name := newName()
		ctx, cancel := context.WithTimeout(t.Context(), slow.Bound(time.Duration(after)*time.Millisecond))
		_, err := lab.Up(ctx, lab.Options{Name: name, BinDir: dir})
		cancel()
		if err != nil {
			expectGone(t, name)
		} else if err := lab.Down(t.Context(), name, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestAFailedUpLeavesNothingAndSaysWhy(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sluice-cni", "sluice-lab"} {
		if err := os.Symlink(filepath.Join(binaries(t), name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	agent := "#!/bin/sh\necho it hurts >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "sluice-agent"), []byte(agent), 0o755); err != nil {
		t.Fatal(err)
	}
	name := newName()
	_, err := lab.Up(t.Context(), lab.Options{Name: name, BinDir: dir, Timeout: slow.Bound(time.Second), Objects: []lab.Object{}})
	if err == nil || !strings.Contains(err.Error(), "node n1") || !strings.Contains(err.Error(), "it hurts") {
		t.Errorf("error %v", err)
	}
	expectGone(t, name)
}

func TestTwoLabsDoNotMeet(t *testing.T) {
	one := up(t, lab.Options{Nodes: 1})
	two := up(t, lab.Options{Nodes: 1})
	expectAll(t, probe(t, one, lab.ProbeRequest{}))
	if err := one.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectAll(t, probe(t, two, lab.ProbeRequest{}))

	_, err := lab.Up(t.Context(), lab.Options{Name: two.Name(), BinDir: binaries(t)})
	if err == nil || !strings.Contains(err.Error(), "is already up") {
		t.Errorf("up again: %v", err)
	}
	expectAll(t, probe(t, two, lab.ProbeRequest{}))
}

func TestExecRunsInThePlaceThatIsNamed(t *testing.T) {
	l := up(t, lab.Options{})
	dir := binaries(t)
	run := func(args ...string) (string, int) {
		cmd := exec.Command(filepath.Join(dir, "sluice-lab"), append([]string{"--name", l.Name(), "exec"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, status := run("a1", "--", "ip", "-4", "-o", "addr", "show", "eth0"); status != 0 || !strings.Contains(out, pod(t, l, "a1").Addresses[0].String()+"/32") {
		t.Errorf("in a pod, status %d: %s", status, out)
	}
	if out, status := run("node/n1", "--", "ovs-vsctl", "list-br"); status != 0 || !strings.Contains(out, "br-sluice") {
		t.Errorf("on a node, status %d: %s", status, out)
	}
	if out, status := run("node/n1", "--", "ovs-appctl", "version"); status != 0 || !strings.Contains(out, "ovs-vswitchd") {
		t.Errorf("on a node, status %d: %s", status, out)
	}
	if _, status := run("outside", "--", "sh", "-c", "exit 7"); status != 7 {
		t.Errorf("status %d, want 7", status)
	}
	if out, status := run("nobody", "--", "true"); status != 1 || !strings.Contains(out, "there is no pod default/nobody") {
		t.Errorf("status %d: %s", status, out)
	}
}
