package db_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/db"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

func TestPortIsAddedWithItsNumberAndItsNote(t *testing.T) {
	ovs, c := withBridge(t)
	addVeths(t, ovs, "veth1")
	spec := db.PortSpec{Name: "veth1", OFPortRequest: 300, ExternalIDs: map[string]string{"who": "me"}}
	note := db.BridgeNote{Set: map[string]string{"last": "veth1"}, Remove: []string{"freed"}}
	must(t, c.NoteBridge(t.Context(), "br0", db.BridgeNote{Set: map[string]string{"freed": "1"}}))
	must(t, c.AddPort(t.Context(), "br0", spec, note))

	got, err := c.WaitPort(t.Context(), "br0", "veth1")
	must(t, err)
	if got.OFPort != 300 || got.OFPortRequest != 300 || got.Type != "" || got.Error != "" || got.ExternalIDs["who"] != "me" || got.MTU != 1500 || got.MACInUse == "" {
		t.Errorf("got %+v", got)
	}
	if out := ovs.Ofctl("show", "br0"); !strings.Contains(out, "300(veth1)") {
		t.Errorf("ovs-ofctl show:\n%s", out)
	}
	if b, _ := c.Bridge("br0"); cmp.Diff(map[string]string{"last": "veth1"}, b.ExternalIDs) != "" {
		t.Errorf("notes %v", b.ExternalIDs)
	}
	var names []string
	for _, p := range c.Ports("br0") {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"br0", "veth1"}, names); diff != "" {
		t.Error(diff)
	}
	if ports := c.Ports("br1"); ports != nil {
		t.Errorf("a bridge that is not there has %v", ports)
	}
}

func TestTakenNumberYieldsAnother(t *testing.T) {
	ovs, c := withBridge(t)
	addVeths(t, ovs, "veth1", "veth2")
	for _, name := range []string{"veth1", "veth2"} {
		must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: name, OFPortRequest: 300}, db.BridgeNote{}))
		if _, err := c.WaitPort(t.Context(), "br0", name); err != nil {
			t.Fatal(err)
		}
	}
	if p, _ := c.Port("br0", "veth1"); p.OFPort != 300 {
		t.Errorf("the first has %d", p.OFPort)
	}
	if p, _ := c.Port("br0", "veth2"); p.OFPort == 300 || p.OFPort <= 0 || p.OFPortRequest != 300 {
		t.Errorf("the second has %d", p.OFPort)
	}
}

func TestInternalAndTunnelPorts(t *testing.T) {
	ovs, c := withBridge(t)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "gw", Type: "internal", OFPortRequest: 2, MAC: "0a:58:0a:f4:01:01", MTURequest: 1400}, db.BridgeNote{}))
	options := map[string]string{"remote_ip": "flow", "key": "flow"}
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "tun", Type: "geneve", OFPortRequest: 1, Options: options}, db.BridgeNote{}))
	gw, err := c.WaitPort(t.Context(), "br0", "gw")
	must(t, err)
	if gw.OFPort != 2 || gw.Type != "internal" || gw.MTURequest != 1400 {
		t.Errorf("gateway %+v", gw)
	}
	eventuallyHasMAC(t, c, "gw", "0a:58:0a:f4:01:01")
	tun, err := c.WaitPort(t.Context(), "br0", "tun")
	must(t, err)
	if tun.OFPort != 1 || tun.Type != "geneve" || cmp.Diff(options, tun.Options) != "" {
		t.Errorf("tunnel %+v", tun)
	}
	if got := ovs.Vsctl("get", "interface", "gw", "mtu"); got != "1400" {
		t.Errorf("MTU %s", got)
	}
}

// eventuallyHasMAC waits for an internal port's address: ovs-vswitchd gives the
// port its number first, and reports the address that the device had until then.
func eventuallyHasMAC(t *testing.T, c *db.Client, name, mac string) {
	t.Helper()
	eventually(t, c, name+" has the address "+mac, func() bool { p, _ := c.Port("br0", name); return p.MACInUse == mac })
}

func TestEnsurePortChangesOnlyWhatDiffers(t *testing.T) {
	ovs, c := withBridge(t)
	spec := db.PortSpec{Name: "gw", Type: "internal", OFPortRequest: 2, MAC: "0a:58:0a:f4:01:01", MTURequest: 1400, ExternalIDs: map[string]string{"a": "1"}}
	ensure := func(spec db.PortSpec, note db.BridgeNote, want bool) {
		t.Helper()
		changed, err := c.EnsurePort(t.Context(), "br0", spec, note)
		must(t, err)
		if changed != want {
			t.Fatalf("changed something: %v, want %v", changed, want)
		}
	}
	ensure(spec, db.BridgeNote{}, true)
	ensure(spec, db.BridgeNote{}, false)
	ensure(db.PortSpec{Name: "gw", Type: "internal"}, db.BridgeNote{}, false)
	ovs.Vsctl("set", "port", "gw", "external_ids:foreign=1")
	spec.MTURequest, spec.ExternalIDs = 1300, map[string]string{"a": "2"}
	ensure(spec, db.BridgeNote{Set: map[string]string{"n": "1"}}, true)
	ensure(spec, db.BridgeNote{Set: map[string]string{"n": "1"}}, false)
	ensure(spec, db.BridgeNote{Remove: []string{"n"}}, true)
	p, err := c.WaitPort(t.Context(), "br0", "gw")
	must(t, err)
	if p.MTURequest != 1300 || cmp.Diff(map[string]string{"a": "2", "foreign": "1"}, p.ExternalIDs) != "" || p.OFPort != 2 {
		t.Errorf("got %+v", p)
	}
	ensureBridge(t, c, db.BridgeSpec{Name: "br1", DatapathType: ovstest.Datapath()}, true)
	if _, err := c.EnsurePort(t.Context(), "br1", spec, db.BridgeNote{}); !errors.Is(err, db.ErrExists) {
		t.Errorf("on another bridge: %v", err)
	}
}

func TestMissingDeviceIsErrPortFailedWithTheReason(t *testing.T) {
	ovs, c := withBridge(t)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "ghost"}, db.BridgeNote{}))
	p, err := c.WaitPort(t.Context(), "br0", "ghost")
	if !errors.Is(err, db.ErrPortFailed) || !strings.Contains(err.Error(), "No such device") || p.OFPort != -1 || p.Error == "" {
		t.Errorf("got %+v, %v", p, err)
	}
	addVeths(t, ovs, "ghost")
	eventually(t, c, "ovs-vswitchd has found the device", func() bool { p, _ := c.Port("br0", "ghost"); return p.OFPort > 0 && p.Error == "" })
}

func TestDeviceOfANewPortMayComeLater(t *testing.T) {
	ovs, c := withBridge(t)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "late", OFPortRequest: 300}, db.BridgeNote{}))
	eventually(t, c, "ovs-vswitchd has looked in vain", func() bool { p, _ := c.Port("br0", "late"); return p.OFPort == -1 })
	var p db.Port
	var g errgroup.Group
	g.Go(func() (err error) { p, err = c.WaitNewPort(t.Context(), "br0", "late"); return err })
	addVeths(t, ovs, "late")
	must(t, g.Wait())
	if p.OFPort != 300 || p.Error != "" {
		t.Errorf("got %+v", p)
	}
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "never"}, db.BridgeNote{}))
	if p, err := c.WaitNewPort(t.Context(), "br0", "never"); !errors.Is(err, db.ErrPortFailed) || p.OFPort != -1 {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestTakenNameIsErrExistsAndChangesNothing(t *testing.T) {
	ovs, c := withBridge(t)
	ensureBridge(t, c, db.BridgeSpec{Name: "br1", DatapathType: ovstest.Datapath()}, true)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{}))
	for _, bridge := range []string{"br0", "br1"} {
		err := c.AddPort(t.Context(), bridge, db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{Set: map[string]string{"n": "1"}})
		if !errors.Is(err, db.ErrExists) || !strings.Contains(err.Error(), bridge) {
			t.Errorf("%s: got %v", bridge, err)
		}
		if b, _ := c.Bridge(bridge); len(b.ExternalIDs) != 0 {
			t.Errorf("%s: the note was carried out: %v", bridge, b.ExternalIDs)
		}
	}
	if got := ovs.Vsctl("list-ports", "br1"); got != "" {
		t.Errorf("br1 has %s", got)
	}
}

func TestOfManyWhoAddOneNameOneWins(t *testing.T) {
	_, c := withBridge(t)
	const n = 8
	results := make(chan error, n)
	for i := range n {
		go func() {
			results <- c.AddPort(t.Context(), "br0", db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{Set: map[string]string{fmt.Sprint(i): "won"}})
		}()
	}
	won := 0
	for range n {
		switch err := <-results; {
		case err == nil:
			won++
		case !errors.Is(err, db.ErrExists):
			t.Error(err)
		}
	}
	if b, _ := c.Bridge("br0"); won != 1 || len(b.ExternalIDs) != 1 {
		t.Errorf("%d won, notes %v", won, b.ExternalIDs)
	}
}

func TestMissingBridgeIsErrNoBridge(t *testing.T) {
	_, c := start(t)
	err := c.AddPort(t.Context(), "br0", db.PortSpec{Name: "a"}, db.BridgeNote{})
	if !errors.Is(err, db.ErrNoBridge) || !strings.Contains(err.Error(), "create it first") {
		t.Errorf("AddPort: %v", err)
	}
	if _, err := c.EnsurePort(t.Context(), "br0", db.PortSpec{Name: "a"}, db.BridgeNote{}); !errors.Is(err, db.ErrNoBridge) {
		t.Errorf("EnsurePort: %v", err)
	}
	if deleted, err := c.DeletePort(t.Context(), "br0", "a", db.BridgeNote{}); deleted || err != nil {
		t.Errorf("DeletePort: %v, %v", deleted, err)
	}
}

func TestDeletePortIsIdempotentAndItsNoteGoesWithIt(t *testing.T) {
	ovs, c := withBridge(t)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{}))
	deleted, err := c.DeletePort(t.Context(), "br0", "a", db.BridgeNote{Set: map[string]string{"freed": "1"}})
	if !deleted || err != nil {
		t.Fatalf("got %v, %v", deleted, err)
	}
	if _, ok := c.Port("br0", "a"); ok {
		t.Error("it is still there")
	}
	deleted, err = c.DeletePort(t.Context(), "br0", "a", db.BridgeNote{Set: map[string]string{"freed": "2"}})
	if deleted || err != nil {
		t.Errorf("again: %v, %v", deleted, err)
	}
	if b, _ := c.Bridge("br0"); b.ExternalIDs["freed"] != "1" {
		t.Errorf("notes %v", b.ExternalIDs)
	}
	if got := ovs.Vsctl("--columns=name", "--format=csv", "--no-headings", "list", "interface"); got != "br0" {
		t.Errorf("interfaces that are left: %q", got)
	}
	if _, err := c.WaitPort(t.Context(), "br0", "a"); !errors.Is(err, db.ErrNoPort) {
		t.Errorf("WaitPort: %v", err)
	}
}

func TestOfManyWhoDeleteOnePortOneDoes(t *testing.T) {
	_, c := withBridge(t)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{}))
	const n = 8
	results := make(chan bool, n)
	for i := range n {
		go func() {
			deleted, err := c.DeletePort(t.Context(), "br0", "a", db.BridgeNote{Set: map[string]string{fmt.Sprint(i): "freed"}})
			if err != nil {
				t.Error(err)
			}
			results <- deleted
		}()
	}
	won := 0
	for range n {
		if <-results {
			won++
		}
	}
	if b, _ := c.Bridge("br0"); won != 1 || len(b.ExternalIDs) != 1 {
		t.Errorf("%d deleted it, notes %v", won, b.ExternalIDs)
	}
}

func TestNameMayBeUsedAgainAtOnce(t *testing.T) {
	ovs, c := withBridge(t)
	addVeths(t, ovs, "veth1")
	for i := range 20 {
		must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "veth1", OFPortRequest: 300 + i}, db.BridgeNote{}))
		if p, err := c.WaitPort(t.Context(), "br0", "veth1"); err != nil || p.OFPort != 300+i {
			t.Fatalf("got %+v, %v", p, err)
		}
		if _, err := c.DeletePort(t.Context(), "br0", "veth1", db.BridgeNote{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWaitPortSaysWhatItWaitedFor(t *testing.T) {
	ovs, c := withBridge(t)
	ovs.Stop(daemon.Vswitchd)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.WaitPort(ctx, "br0", "a")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "is ovs-vswitchd running?") {
		t.Errorf("got %v", err)
	}
	ovs.StartVswitchd()
	if _, err := c.WaitPort(t.Context(), "br0", "a"); err != nil {
		t.Error(err)
	}
}

func TestFiftyPortsAtOnce(t *testing.T) {
	ovs, c := withBridge(t)
	const n = 50
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("veth%d", i)
	}
	addVeths(t, ovs, names...)
	began := time.Now()
	group, ctx := errgroup.WithContext(t.Context())
	for i, name := range names {
		group.Go(func() error {
			if err := c.AddPort(ctx, "br0", db.PortSpec{Name: name, OFPortRequest: 300 + i}, db.BridgeNote{Set: map[string]string{name: "there"}}); err != nil {
				return err
			}
			p, err := c.WaitPort(ctx, "br0", name)
			if err == nil && p.OFPort != 300+i {
				err = fmt.Errorf("%s has number %d", name, p.OFPort)
			}
			return err
		})
	}
	must(t, group.Wait())
	t.Logf("%d ports have their numbers after %v", n, time.Since(began))
	if ports := c.Ports("br0"); len(ports) != n+1 {
		t.Errorf("%d ports", len(ports))
	}
	if b, _ := c.Bridge("br0"); len(b.ExternalIDs) != n {
		t.Errorf("%d notes", len(b.ExternalIDs))
	}
}

func BenchmarkAddPortUntilItHasItsNumber(b *testing.B) {
	ovs := ovstest.Start(b)
	c, err := db.Open(b.Context(), ovs.DBEndpoint(), discard())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+ovstest.Datapath())
	ovs.Do(func() { addVeth(b, "veth1") })
	b.Run("db", func(b *testing.B) {
		for b.Loop() {
			if err := c.AddPort(b.Context(), "br0", db.PortSpec{Name: "veth1"}, db.BridgeNote{}); err != nil {
				b.Fatal(err)
			}
			if _, err := c.WaitPort(b.Context(), "br0", "veth1"); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if _, err := c.DeletePort(b.Context(), "br0", "veth1", db.BridgeNote{}); err != nil {
				b.Fatal(err)
			}
			if err := c.WaitApplied(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("ovs-vsctl", func(b *testing.B) {
		for b.Loop() {
			ovs.Vsctl("add-port", "br0", "veth1")
			b.StopTimer()
			ovs.Vsctl("del-port", "br0", "veth1")
			b.StartTimer()
		}
	})
}
