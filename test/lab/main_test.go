package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// The tests of this package (lab_test) are scenarios on real labs. They need root,
// Open vSwitch and nftables. They build the executables themselves, unless
// SLUICE_BIN_DIR says where they are.

// buildDir is removed after the tests.
var buildDir string

func TestMain(m *testing.M) {
	status := m.Run()
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
	os.Exit(status)
}

var binDir = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("SLUICE_BIN_DIR"); dir != "" {
		return dir, nil
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "sluice-lab-test-"); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", buildDir+"/",
		"github.com/sluice-cni/sluice/cmd/sluice-agent", "github.com/sluice-cni/sluice/cmd/sluice-cni", "github.com/sluice-cni/sluice/cmd/sluice-lab")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the executables: %w: %s", err, out)
	}
	return buildDir, nil
})

// binaries is where the executables are. Without root the test fails here.
func binaries(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a lab needs root (make test-unit runs what does not)")
	}
	dir, err := binDir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var labs atomic.Int32

// newName is a lab's name that nobody else on the machine uses.
func newName() string { return fmt.Sprintf("t%d-%d", os.Getpid(), labs.Add(1)) }

// testOutput lets a lab's progress show with the test's own.
type testOutput struct{ *testing.T }

func (o testOutput) Write(text []byte) (int, error) {
	o.Logf("%s", strings.TrimRight(string(text), "\n"))
	return len(text), nil
}

// up starts a lab for one test.
func up(t *testing.T, options lab.Options) *lab.Lab {
	t.Helper()
	options.BinDir = binaries(t)
	options.Out = testOutput{t}
	if options.Name == "" {
		options.Name = newName()
	}
	l, err := lab.Up(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		consistent(t, l)
		if t.Failed() {
			logAgents(t, l)
		}
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
		expectGone(t, l.Name())
	})
	return l
}

// consistent holds the invariants against all nodes, if the lab is still up: whatever a
// test did, things fit together in the end.
func consistent(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), slow.Bound(20*time.Second))
	defer cancel()
	if err := l.Consistent(ctx); err != nil && !errors.As(err, new(*lab.NotUpError)) {
		t.Error(err)
	}
}

// logAgents shows the ends of the agents' logs.
func logAgents(t *testing.T, l *lab.Lab) {
	listing, err := l.List()
	if err != nil {
		return
	}
	for _, node := range listing.Nodes {
		path, err := l.LogFile(node.Name, lab.Agent)
		if err != nil {
			continue
		}
		text, _ := os.ReadFile(path)
		t.Logf("end of the agent's log on %s:\n%s", node.Name, text[max(0, len(text)-4000):])
	}
}

// expectGone fails if anything is left of a lab: a namespace, a process, a file.
func expectGone(t *testing.T, name string) {
	t.Helper()
	namespaces, err := filepath.Glob("/run/netns/sl-" + name + ".*")
	if err != nil || len(namespaces) > 0 {
		t.Errorf("namespaces %v are left (%v)", namespaces, err)
	}
	files, err := filepath.Glob("/run/sluice-lab/" + name + "*")
	if err != nil || len(files) > 0 {
		t.Errorf("files %v are left (%v)", files, err)
	}
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		processes, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range processes {
			// What cannot be read has ended.
			text, err := os.ReadFile(file)
			if err == nil && strings.Contains(string(text), "/run/sluice-lab/"+name+"/") {
				t.Errorf("a process is left: %s has %q", file, strings.ReplaceAll(string(text), "\x00", " "))
			}
		}
	}
	if _, err := lab.Open(name, nil); !errors.As(err, new(*lab.NotUpError)) {
		t.Errorf("open the lab that is down: %v", err)
	}
}

func list(t *testing.T, l *lab.Lab) *lab.Listing {
	t.Helper()
	listing, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	return listing
}

func node(t *testing.T, l *lab.Lab, name string) lab.NodeListing {
	t.Helper()
	n, ok := list(t, l).Node(name)
	if !ok {
		t.Fatalf("no node %s", name)
	}
	return n
}

func pod(t *testing.T, l *lab.Lab, name string) lab.PodListing {
	t.Helper()
	p, ok := list(t, l).Pod(name)
	if !ok {
		t.Fatalf("no pod %s", name)
	}
	return p
}

func status(t *testing.T, l *lab.Lab, name string) api.Status {
	t.Helper()
	s, err := api.NewClient(node(t, l, name).AgentSocket).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flows are the texts of a node's flows.
func flows(t *testing.T, l *lab.Lab, name string) string {
	t.Helper()
	out, err := l.Exec(t.Context(), "node/"+name, "ovs-ofctl", "-O", "OpenFlow15", "--no-stats", "--no-names", "dump-flows", "br-sluice")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func apply(t *testing.T, l *lab.Lab, text string) {
	t.Helper()
	if err := l.ApplyYAML(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

func ends(t *testing.T, texts ...string) []lab.Endpoint {
	t.Helper()
	var all []lab.Endpoint
	for _, text := range texts {
		end, err := lab.ParseEndpoint(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, end)
	}
	return all
}

func probe(t *testing.T, l *lab.Lab, request lab.ProbeRequest) []lab.ProbeResult {
	t.Helper()
	results, err := l.Probe(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) == 0 {
		t.Fatal("nothing was probed")
	}
	return results
}

// expectAll fails unless everything was reached.
func expectAll(t *testing.T, results []lab.ProbeResult) {
	t.Helper()
	for _, result := range results {
		if !result.Reached {
			t.Errorf("%s does not reach %s by %s, port %d: %s", result.From, result.To, result.Protocol, result.Port, result.Error)
		}
	}
}

// eventually waits until check returns nil, for at most the bound.
func eventually(t *testing.T, bound time.Duration, check func() error) {
	t.Helper()
	bound = slow.Bound(bound)
	for until := time.Now().Add(bound); ; time.Sleep(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("not within %s: %v", bound, err)
		}
	}
}

// exists tells whether there is such a file.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
