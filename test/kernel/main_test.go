//go:build kernel

// Package kernel tests what only the kernel's Open vSwitch datapath shows. test.sh
// runs it in a virtual machine, with all other packages that test real switches; the
// build tag keeps it from machines without that datapath. It needs root and the
// executables (SLUICE_BIN_DIR).
package kernel

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

var labs atomic.Int32

// up starts a lab of two nodes on the kernel's datapath, with so many pods on each:
// a1, b1, ... on n1, a2, b2, ... on n2. It ends with the test.
func up(t *testing.T, pods ...int) *lab.Lab {
	t.Helper()
	var text strings.Builder
	for i, n := range pods {
		node := i + 1
		for i := range n {
			fmt.Fprintf(&text, "---\n{apiVersion: v1, kind: Pod, metadata: {name: %c%d}, spec: {nodeName: n%[2]d, containers: [{name: c, ports: [{containerPort: 8080}]}]}}\n", 'a'+i, node)
		}
	}
	objects, err := lab.ParseObjects("pods", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.Up(t.Context(), lab.Options{
		Name: fmt.Sprintf("k%d-%d", os.Getpid(), labs.Add(1)), BinDir: os.Getenv("SLUICE_BIN_DIR"), Datapath: lab.SystemDatapath,
		Families: lab.Dual, Objects: objects,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), slow.Bound(20*time.Second))
		defer cancel()
		if err := l.Consistent(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			logEnds(t, l)
		}
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// logEnds shows the ends of the logs of n1's agent and ovs-vswitchd.
func logEnds(t *testing.T, l *lab.Lab) {
	for _, d := range []lab.Daemon{lab.Agent, lab.Vswitchd} {
		path, err := l.LogFile("n1", d)
		if err != nil {
			continue
		}
		text, _ := os.ReadFile(path)
		t.Logf("log of %s on n1 ends:\n%s", d, text[max(0, len(text)-4000):])
	}
}

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

func outside(t *testing.T, l *lab.Lab) lab.OutsideListing {
	t.Helper()
	list, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	return list.Outside
}

// run runs a command somewhere in the lab and returns what it prints.
func run(t *testing.T, l *lab.Lab, where string, argv ...string) string {
	t.Helper()
	out, err := l.Exec(t.Context(), where, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// reach tries one probe.
func reach(t *testing.T, l *lab.Lab, from, to string, size int) lab.ProbeResult {
	t.Helper()
	ends := make([]lab.Endpoint, 2)
	for i, text := range []string{from, to} {
		end, err := lab.ParseEndpoint(text)
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = end
	}
	results, err := l.Probe(t.Context(), lab.ProbeRequest{From: ends[:1], To: ends[1:], Protocol: "icmp", Size: size})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

func status(t *testing.T, l *lab.Lab, name string) api.Status {
	t.Helper()
	s, err := api.NewClient(node(t, l, name).AgentSocket).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually asks until it is told nil; the last answer is the failure.
func eventually(t *testing.T, what string, bound time.Duration, ask func() error) {
	t.Helper()
	bound = slow.Bound(bound)
	for end := time.Now().Add(bound); ; time.Sleep(10 * time.Millisecond) {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s: %v", what, bound, err)
		}
	}
}
