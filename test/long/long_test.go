//go:build long

// Package long tests what takes minutes: a switch that is away for long, or comes and
// goes, while the cluster changes. `make test-long` runs it; the build tag keeps it
// from all others. It needs root, Open vSwitch and the executables (SLUICE_BIN_DIR).
package long

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// recovery is how soon after its switch is back a node has what was desired then.
const recovery = 5 * time.Second

func TestSwitchIsStoppedFor90Seconds(t *testing.T) {
	l, n := up(t)
	s := stream(t, n)
	pid := n.PIDs.Vswitchd
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	time.Sleep(90 * time.Second)
	wanted := s.now()
	back := time.Now()
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	recovered(t, l, n, wanted, back)
}

func TestSwitchIsRestartedTwiceWithin3Seconds(t *testing.T) {
	l, n := up(t)
	s := stream(t, n)
	begun := time.Now()
	for range 2 {
		if err := l.Kill(t.Context(), n.Name, lab.Vswitchd); err != nil {
			t.Fatal(err)
		}
		if err := l.Start(t.Context(), n.Name, lab.Vswitchd); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > slow.Bound(3*time.Second) {
		t.Errorf("the restarts took %s: the test shows less than its name says", took)
	}
	recovered(t, l, n, s.now(), time.Now())
}

func TestSwitchIsAwayForAMinute(t *testing.T) {
	l, n := up(t)
	s := stream(t, n)
	if err := l.Kill(t.Context(), n.Name, lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	wanted := s.now()
	if err := l.Start(t.Context(), n.Name, lab.Vswitchd); err != nil {
		t.Fatal(err)
	}
	recovered(t, l, n, wanted, time.Now())
}

// TestSocketIsGoneForAMinute takes the name of the management socket away from a
// switch that runs, and has it drop its connections.
func TestSocketIsGoneForAMinute(t *testing.T) {
	l, n := up(t)
	s := stream(t, n)
	socket := filepath.Join(n.OVSRunDir, "br-sluice.mgmt")
	if err := os.Rename(socket, socket+".gone"); err != nil {
		t.Fatal(err)
	}
	ovs(t, n, "ovs-appctl", "-t", control(t, n), "bridge/reconnect", "br-sluice")
	time.Sleep(time.Minute)
	wanted := s.now()
	if held := generation(t, n); held >= wanted-10 {
		t.Errorf("the switch has %d of %d changes: it was not out of reach", held, wanted)
	}
	back := time.Now()
	if err := os.Rename(socket+".gone", socket); err != nil {
		t.Fatal(err)
	}
	recovered(t, l, n, wanted, back)
}

// recovered waits until the switch has the change that was wanted when it came back,
// or a later one, and then until all pods reach each other.
func recovered(t *testing.T, l *lab.Lab, n lab.NodeListing, wanted int64, back time.Time) {
	t.Helper()
	for generation(t, n) < wanted {
		if time.Since(back) > slow.Bound(recovery) {
			t.Fatalf("%s after its switch was back node %s has change %d, %d was wanted", time.Since(back), n.Name, generation(t, n), wanted)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("node %s has what was wanted %s after its switch was back", n.Name, time.Since(back).Round(10*time.Millisecond))
	// The first packets after a restart wait for the tunnel's neighbours, and may be lost.
	for {
		begun := time.Now()
		failed := unreached(t, l)
		if len(failed) == 0 {
			t.Logf("all pods reach each other in a probe begun %s after", begun.Sub(back).Round(10*time.Millisecond))
			return
		}
		if time.Since(back) > slow.Bound(recovery) {
			t.Fatalf("%s after its switch was back: %s", time.Since(back), strings.Join(failed, "; "))
		}
	}
}

// unreached says which pods do not reach which.
func unreached(t *testing.T, l *lab.Lab) (failed []string) {
	t.Helper()
	results, err := l.Probe(t.Context(), lab.ProbeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if !r.Reached {
			failed = append(failed, fmt.Sprintf("%s does not reach %s: %s", r.From, r.To, r.Error))
		}
	}
	return failed
}

// changes is a stream of them: ten times a second a Node that exists only on paper
// gets another pod network, the numbers of which are counted up.
type changes struct{ made atomic.Int64 }

func (c *changes) now() int64 { return c.made.Load() }

func stream(t *testing.T, n lab.NodeListing) *changes {
	t.Helper()
	c := new(changes)
	file := filepath.Join(n.ManifestsDir, "node_paper.yaml")
	ctx, cancel := context.WithCancel(context.Background())
	var ends sync.WaitGroup
	ends.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			text := fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: paper}\nspec: {podCIDRs: [%s]}\nstatus: {addresses: [{type: InternalIP, address: 10.9.0.99}]}\n", network(c.now()+1))
			if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
				t.Error(err)
				return
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Error(err)
				return
			}
			c.made.Add(1)
		}
	})
	t.Cleanup(func() {
		cancel()
		ends.Wait()
		_ = os.Remove(file)
	})
	// It must be under way before anything is done to the switch.
	for until := time.Now().Add(slow.Bound(10 * time.Second)); generation(t, n) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("no change comes to the switch")
		}
	}
	return c
}

// network is the paper node's after n changes.
func network(n int64) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100 + byte(n/256), byte(n % 256), 0}), 24)
}

// generation is which of the changes the switch has, 0 for none or when it says nothing.
func generation(t *testing.T, n lab.NodeListing) int64 {
	t.Helper()
	// By the text, so that nothing that is tested here helps.
	ctx, cancel := context.WithTimeout(t.Context(), slow.Bound(2*time.Second))
	defer cancel()
	target := filepath.Join(n.OVSRunDir, "br-sluice.mgmt")
	if _, err := os.Stat(target); err != nil {
		target += ".gone"
	}
	out, _ := exec.CommandContext(ctx, "ovs-ofctl", "-O", "OpenFlow15", "dump-flows", "unix:"+target).Output()
	for line := range strings.Lines(string(out)) {
		_, rest, ok := strings.Cut(line, "nw_dst=10.1")
		if !ok {
			continue
		}
		var a, b int64
		if _, err := fmt.Sscanf("1"+rest, "%d.%d.0/24", &a, &b); err == nil && a >= 100 {
			return (a-100)*256 + b
		}
	}
	return 0
}

func up(t *testing.T) (*lab.Lab, lab.NodeListing) {
	t.Helper()
	l, err := lab.Up(t.Context(), lab.Options{Name: fmt.Sprintf("long%d", os.Getpid()), BinDir: os.Getenv("SLUICE_BIN_DIR")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			agentLog(t, l)
		}
		ctx, cancel := context.WithTimeout(context.Background(), slow.Bound(time.Minute))
		defer cancel()
		if err := l.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	list, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	n, ok := list.Node("n1")
	if !ok {
		t.Fatal("no node n1")
	}
	return l, n
}

func agentLog(t *testing.T, l *lab.Lab) {
	path, err := l.LogFile("n1", lab.Agent)
	if err != nil {
		t.Error(err)
		return
	}
	text, err := os.ReadFile(path)
	lines := strings.Split(string(text), "\n")
	t.Logf("the agent of n1 (%v):\n%s", err, strings.Join(lines[max(0, len(lines)-40):], "\n"))
}

// control is ovs-vswitchd's control socket.
func control(t *testing.T, n lab.NodeListing) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(n.OVSRunDir, fmt.Sprintf("ovs-vswitchd.%d.ctl", n.PIDs.Vswitchd)))
	if err != nil || len(list) != 1 {
		t.Fatalf("control socket: %v, %v", list, err)
	}
	return list[0]
}

func ovs(t *testing.T, n lab.NodeListing, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+n.OVSRunDir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
}
