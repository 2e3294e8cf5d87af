package ovstest

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
	"syscall"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/slow"
)

// prefix begins the names of all directories and namespaces made here; then
// come the test process's id and a random number.
const prefix = "sluicet-"

// toolBound is how long a command of Open vSwitch may take.
var toolBound = slow.Bound(30 * time.Second)

// DatapathVariable is the environment variable that chooses the datapath.
const DatapathVariable = "SLUICE_TEST_DATAPATH"

// Datapath returns the datapath_type that bridges in tests shall have: "netdev"
// or "system".
func Datapath() string {
	if os.Getenv(DatapathVariable) == "system" {
		return "system"
	}
	return "netdev"
}

// OVS is a running Open vSwitch that belongs to one test. What it embeds starts,
// stops and kills its daemons and knows the paths of its sockets.
type OVS struct {
	*daemon.OVS
	// Namespace is where both daemons are.
	Namespace *Namespace
	t         testing.TB
}

// Start starts ovsdb-server with an empty database and ovs-vswitchd. Everything
// is gone after the test and its earlier clean-ups; if it failed, the end of
// ovs-vswitchd's log is printed.
func Start(t testing.TB) *OVS {
	t.Helper()
	for _, tool := range []string{string(daemon.DB), string(daemon.Vswitchd), "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"} {
		if _, err := daemon.LookPath(tool); err != nil {
			t.Fatalf("this test needs Open vSwitch: %v", err)
		}
	}
	sweep(t)
	dir := filepath.Join(os.TempDir(), uniqueName())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	ns := NewNamespace(t)
	d, err := daemon.New(dir, ns.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Not t.Context(), which has ended by now.
		if err := d.StopAll(context.Background()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s ends:\n%s", d.LogFile(daemon.Vswitchd), d.LogTail(daemon.Vswitchd, 40))
		}
	})
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &OVS{OVS: d, Namespace: ns, t: t}
}

func uniqueName() string { return fmt.Sprintf("%s%d-%08x", prefix, os.Getpid(), rand.Uint32()) }

// sweep removes what test processes have left that were killed before their
// clean-up: whose name carries the id of a process that is no more.
func sweep(t testing.TB) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	names, err := netns.Names(prefix)
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	for _, dir := range dirs {
		if !ownerGone(filepath.Base(dir)) {
			continue
		}
		if d, err := daemon.New(dir, ""); err == nil {
			failed = errors.Join(failed, d.Kill(daemon.Vswitchd), d.Kill(daemon.DB))
		}
		failed = errors.Join(failed, os.RemoveAll(dir))
	}
	for _, name := range names {
		if ownerGone(name) {
			failed = errors.Join(failed, netns.Delete(name))
		}
	}
	if failed != nil {
		t.Logf("remove what an earlier test left: %v", failed)
	}
}

func ownerGone(name string) bool {
	owner, _, ok := strings.Cut(strings.TrimPrefix(name, prefix), "-")
	pid, err := strconv.Atoi(owner)
	return ok && err == nil && pid > 1 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// Do runs fn in the daemons' namespace; see Namespace.Do.
func (o *OVS) Do(fn func()) {
	o.t.Helper()
	o.Namespace.Do(fn)
}

// AddNS makes another network namespace, for a pod: it is gone when the test ends.
func (o *OVS) AddNS() *Namespace {
	o.t.Helper()
	return NewNamespace(o.t)
}

// Vsctl runs ovs-vsctl, which waits for ovs-vswitchd unless told --no-wait, and
// returns what it prints, without the final newline. Failure ends the test, as
// with the other tools.
func (o *OVS) Vsctl(args ...string) string {
	o.t.Helper()
	return o.tool("ovs-vsctl", append([]string{"--db=" + o.DBEndpoint(), "--timeout=20"}, args...)...)
}

// Ofctl runs ovs-ofctl with OpenFlow 1.5. Bridges are found by name.
func (o *OVS) Ofctl(args ...string) string {
	o.t.Helper()
	return o.tool("ovs-ofctl", append([]string{"-O", "OpenFlow15"}, args...)...)
}

// Appctl runs ovs-appctl against ovs-vswitchd.
func (o *OVS) Appctl(args ...string) string {
	o.t.Helper()
	return o.tool("ovs-appctl", append([]string{"-t", o.CtlSocket(daemon.Vswitchd)}, args...)...)
}

func (o *OVS) tool(name string, args ...string) string {
	o.t.Helper()
	path, err := daemon.LookPath(name)
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), toolBound)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = o.Env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// StartDB and the next three are those of daemon.OVS, and end the test when they
// fail.
func (o *OVS) StartDB() {
	o.t.Helper()
	o.must(o.OVS.StartDB(context.Background()))
}

// StartVswitchd starts ovs-vswitchd and waits until it has its configuration.
func (o *OVS) StartVswitchd() {
	o.t.Helper()
	o.must(o.OVS.StartVswitchd(context.Background()))
}

// Stop ends the daemon as its packages do.
func (o *OVS) Stop(d daemon.Daemon) {
	o.t.Helper()
	o.must(o.OVS.Stop(context.Background(), d))
}

// Kill ends the daemon as a crash would.
func (o *OVS) Kill(d daemon.Daemon) {
	o.t.Helper()
	o.must(o.OVS.Kill(d))
}

func (o *OVS) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}
