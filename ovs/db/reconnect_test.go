package db_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/db"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// offline changes the database while no server has it.
func offline(t *testing.T, ovs *ovstest.OVS, operations string) {
	t.Helper()
	out, err := exec.Command("ovsdb-tool", "transact", filepath.Join(ovs.Dir(), "conf.db"), `["Open_vSwitch",`+operations+`]`).CombinedOutput()
	if err != nil || strings.Contains(string(out), `"error"`) {
		t.Fatalf("ovsdb-tool: %v: %s", err, out)
	}
}

func names(ports []db.Port) (names []string) {
	for _, p := range ports {
		names = append(names, p.Name)
	}
	return names
}

func TestWhatHappenedWhileTheServerWasAwayIsKnownAfterwards(t *testing.T) {
	for how, end := range map[string]func(*ovstest.OVS){
		"stopped": func(ovs *ovstest.OVS) { ovs.Stop(daemon.DB) },
		"killed":  func(ovs *ovstest.OVS) { ovs.Kill(daemon.DB) },
	} {
		t.Run(how, func(t *testing.T) {
			ovs, c := withBridge(t)
			for _, name := range []string{"stays", "goes"} {
				must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: name, Type: "internal"}, db.BridgeNote{Set: map[string]string{name: "1"}}))
			}
			goes := ovs.Vsctl("get", "port", "goes", "_uuid")

			end(ovs)
			eventually(t, c, "the client knows that it is not connected", func() bool { return !c.Connected() })
			if diff := cmp.Diff([]string{"br0", "goes", "stays"}, names(c.Ports("br0"))); diff != "" {
				t.Errorf("while it is away the last known state is not there:\n%s", diff)
			}
			offline(t, ovs, `{"op":"mutate","table":"Bridge","where":[["name","==","br0"]],"mutations":[
				["ports","delete",["uuid","`+goes+`"]],["external_ids","delete","goes"],["external_ids","insert",["map",[["new","1"]]]]]}`)
			ovs.StartDB()
			eventually(t, c, "the client is connected again", c.Connected)

			if diff := cmp.Diff([]string{"br0", "stays"}, names(c.Ports("br0"))); diff != "" {
				t.Errorf("ports:\n%s", diff)
			}
			if b, _ := c.Bridge("br0"); cmp.Diff(map[string]string{"stays": "1", "new": "1"}, b.ExternalIDs) != "" {
				t.Errorf("notes %v", b.ExternalIDs)
			}
			// The name is free, and the client goes on as before.
			must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "goes", Type: "internal"}, db.BridgeNote{}))
			if _, err := c.WaitPort(t.Context(), "br0", "goes"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTransactionWhileTheServerIsAwayFailsWithinItsBound(t *testing.T) {
	ovs, c := withBridge(t)
	ovs.Stop(daemon.DB)
	eventually(t, c, "the client knows that it is not connected", func() bool { return !c.Connected() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := c.AddPort(ctx, "br0", db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{})
	if !errors.Is(err, db.ErrNotConnected) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), ovs.DBSocket()) {
		t.Errorf("got %v", err)
	}
}

func TestTransactionIsMadeWhenTheServerComesBackInTime(t *testing.T) {
	ovs, c := withBridge(t)
	ovs.Stop(daemon.DB)
	eventually(t, c, "the client knows that it is not connected", func() bool { return !c.Connected() })
	result := make(chan error, 1)
	go func() {
		result <- c.AddPort(t.Context(), "br0", db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{})
	}()
	ovs.StartDB()
	must(t, <-result)
	if _, ok := c.Port("br0", "a"); !ok {
		t.Error("it is not there")
	}
}

func TestCloseWhileTheServerIsAwayEndsAtOnce(t *testing.T) {
	ovs := ovstest.Start(t)
	c, err := db.Open(t.Context(), ovs.DBEndpoint(), discard())
	must(t, err)
	ovs.Stop(daemon.DB)
	eventually(t, c, "the client knows that it is not connected", func() bool { return !c.Connected() })
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c.Close()
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("Close hangs")
	}
}

func TestHungServerIsNoticed(t *testing.T) {
	t.Cleanup(db.SetProbeInterval(100 * time.Millisecond))
	ovs, c := withBridge(t)
	pid, _ := ovs.PID(daemon.DB)
	server, err := os.FindProcess(pid)
	must(t, err)
	must(t, server.Signal(syscall.SIGSTOP))
	defer server.Signal(syscall.SIGCONT)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.AddPort(ctx, "br0", db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{}); !errors.Is(err, db.ErrUnknownOutcome) && !errors.Is(err, db.ErrNotConnected) {
		t.Errorf("AddPort: %v", err)
	}
	eventually(t, c, "the client notices", func() bool { return !c.Connected() })
	must(t, server.Signal(syscall.SIGCONT))
	eventually(t, c, "the client is connected again", c.Connected)
}

func TestPortsHaveNumbersAgainAfterVswitchdWasKilled(t *testing.T) {
	ovs, c := withBridge(t)
	addVeths(t, ovs, "veth1")
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "veth1", OFPortRequest: 300}, db.BridgeNote{}))
	if _, err := c.WaitPort(t.Context(), "br0", "veth1"); err != nil {
		t.Fatal(err)
	}
	ovs.Kill(daemon.Vswitchd)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "late", Type: "internal", OFPortRequest: 301}, db.BridgeNote{}))
	ovs.StartVswitchd()
	for name, number := range map[string]int{"veth1": 300, "late": 301} {
		if p, err := c.WaitPort(t.Context(), "br0", name); err != nil || p.OFPort != number {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	must(t, c.WaitApplied(t.Context()))
}

func TestBothDaemonsKilledAndBack(t *testing.T) {
	ovs, c := withBridge(t)
	ovs.Kill(daemon.Vswitchd)
	ovs.Kill(daemon.DB)
	ovs.StartDB()
	ovs.StartVswitchd()
	eventually(t, c, "the client is connected again", c.Connected)
	must(t, c.WaitApplied(t.Context()))
	if p, err := c.WaitPort(t.Context(), "br0", "br0"); err != nil || p.OFPort != 65534 {
		t.Errorf("got %+v, %v", p, err)
	}
}
