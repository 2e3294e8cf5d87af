// Package scenarios tests what a lab shows, packet by packet and request by request:
// who may say what on the wire, what the tunnel carries, what a node does with bad
// input. It needs root and Open vSwitch.
package scenarios

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// binDir holds the executables: $SLUICE_BIN_DIR, or built for this run.
var binDir string

// atExit is what the tests of this package made for all of them.
var atExit []func()

func TestMain(m *testing.M) {
	code := func() int {
		defer func() {
			for _, f := range atExit {
				f()
			}
		}()
		if binDir = os.Getenv("SLUICE_BIN_DIR"); binDir != "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "sluice-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", "build", "-o", dir, "github.com/sluice-cni/sluice/cmd/...")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v: %s\n", err, out)
			return 1
		}
		binDir = dir
		return m.Run()
	}()
	os.Exit(code)
}

// bound is how long a test waits for what should take a moment.
const bound = 20 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), slow.Bound(2*time.Minute))
	t.Cleanup(cancel)
	return ctx
}

// up starts a lab that ends with the test. On failure the agents' logs are printed.
func up(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	return upFrom(t, binDir, o)
}

// upFrom starts a lab with the executables of a directory.
func upFrom(t *testing.T, dir string, o lab.Options) *lab.Lab {
	t.Helper()
	o.BinDir = dir
	o.Name = labName(t)
	l, err := lab.Up(testContext(t), o)
	if err != nil {
		t.Fatalf("start the lab: %v", err)
	}
	t.Cleanup(func() {
		consistent(t, l)
		if t.Failed() {
			printLogs(t, l)
		}
		ctx, cancel := context.WithTimeout(context.Background(), slow.Bound(time.Minute))
		defer cancel()
		if err := l.Down(ctx); err != nil {
			t.Errorf("take the lab down: %v", err)
		}
	})
	return l
}

// consistent holds the invariants against every node that has an agent: whatever a
// test did, ports, cables, namespaces, addresses and flows fit together in the end.
func consistent(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), slow.Bound(2*bound))
	defer cancel()
	if err := l.Consistent(ctx); err != nil {
		t.Error(err)
	}
}

// labName is short, and this process's and test's own.
func labName(t *testing.T) string {
	sum := uint32(2166136261)
	for _, b := range []byte(t.Name()) {
		sum = (sum ^ uint32(b)) * 16777619
	}
	return fmt.Sprintf("s%d-%06x", os.Getpid()%100000, sum&0xffffff)
}

func printLogs(t *testing.T, l *lab.Lab) {
	list, err := l.List()
	if err != nil {
		return
	}
	for _, n := range list.Nodes {
		path, err := l.LogFile(n.Name, lab.Agent)
		if err != nil {
			continue
		}
		text, _ := os.ReadFile(path)
		lines := strings.Split(string(text), "\n")
		t.Logf("agent of %s:\n%s", n.Name, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
}

// node is a node of the lab.
func node(t *testing.T, l *lab.Lab, name string) lab.NodeListing {
	t.Helper()
	list, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	n, ok := list.Node(name)
	if !ok {
		t.Fatalf("no node %s", name)
	}
	return n
}

// pod is a pod of the lab.
func pod(t *testing.T, l *lab.Lab, name string) lab.PodListing {
	t.Helper()
	list, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	p, ok := list.Pod(name)
	if !ok {
		t.Fatalf("no pod %s", name)
	}
	return p
}

// outsideOf is the machine that is no node.
func outsideOf(t *testing.T, l *lab.Lab) lab.OutsideListing {
	t.Helper()
	list, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	return list.Outside
}

// flowsOf are a node's flows as its agent tells them.
func flowsOf(t *testing.T, n lab.NodeListing) []api.Flow {
	t.Helper()
	list, err := api.NewClient(n.AgentSocket).Flows(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func statusOf(t *testing.T, n lab.NodeListing) api.Status {
	t.Helper()
	s, err := api.NewClient(n.AgentSocket).Status(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually asks until it is told nil; the last answer is the failure.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	within(t, bound, what, ask)
}

// within is eventually with another bound, which is longer on a slow machine; it tells how long it took.
func within(t *testing.T, bound time.Duration, what string, ask func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := ask()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if bound := slow.Bound(bound); took > bound {
			t.Fatalf("%s: not within %s: %v", what, bound, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// on runs a program in a place of the lab, and returns what it prints.
func on(t *testing.T, l *lab.Lab, place string, argv ...string) string {
	t.Helper()
	out, err := l.Exec(testContext(t), place, argv...)
	if err != nil {
		t.Fatalf("%s: %v: %v: %s", place, argv, err, out)
	}
	return string(out)
}

// ofctl runs ovs-ofctl on a node.
func ofctl(t *testing.T, l *lab.Lab, place string, args ...string) string {
	t.Helper()
	return on(t, l, place, append([]string{"ovs-ofctl", "-O", "OpenFlow15"}, args...)...)
}

func executable(name string) string { return filepath.Join(binDir, name) }

// apiStatus asks an agent that may not be there yet.
func apiStatus(n lab.NodeListing) (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), slow.Bound(5*time.Second))
	defer cancel()
	return api.NewClient(n.AgentSocket).Status(ctx)
}
