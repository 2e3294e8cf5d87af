package scenarios

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// TestWithoutAnAgentSTATUSSaysSoAndDELEnds, through libcni, as a runtime asks; pods that are
// there go on.
func TestWithoutAnAgentSTATUSSaysSoAndDELEnds(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, ctx := node(t, l, "n1"), testContext(t)
	r := newRuntime(t, n, "sluice", "1.1.0", map[string]any{"type": "sluice"})
	status := func() error { return r.do(func() error { return r.cni.GetStatusNetworkList(ctx, r.list) }) }
	stays := &libcni.RuntimeConf{ContainerID: "stays", NetNS: ovstest.NewNamespace(t).Path, IfName: "eth0"}
	goes := &libcni.RuntimeConf{ContainerID: "goes", NetNS: ovstest.NewNamespace(t).Path, IfName: "eth0"}
	for _, c := range []*libcni.RuntimeConf{stays, goes} {
		if err := r.do(func() error { _, err := r.cni.AddNetworkList(ctx, r.list, c); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if err := status(); err != nil {
		t.Fatalf("STATUS with an agent: %v", err)
	}
	gateway := gatewayOf(t, l, n) // the agent knows it

	if err := l.StopAgent(ctx, n.Name); err != nil {
		t.Fatal(err)
	}
	var e *types.Error
	const notAvailable = 50 // "The plugin is not available", CNI 1.1.0
	if err := status(); !errors.As(err, &e) || e.Code != notAvailable || !strings.Contains(e.Msg, "cannot reach the Sluice agent at "+n.CNISocket) {
		t.Errorf("STATUS without an agent: %v", err)
	}
	pingsAddress(t, l, n, stays.NetNS, gateway)
	began := time.Now()
	if err := r.del(ctx, goes); err != nil {
		t.Errorf("DEL: %v", err)
	}
	if took := time.Since(began); took > slow.Bound(5*time.Second) {
		t.Errorf("DEL took %s", took)
	}

	if err := l.Start(ctx, n.Name, lab.Agent); err != nil {
		t.Fatal(err)
	}
	eventually(t, "STATUS is good again", status)
	pingsAddress(t, l, n, stays.NetNS, gateway)
	if err := r.del(ctx, stays); err != nil {
		t.Errorf("DEL: %v", err)
	}
	eventually(t, "the cables are gone", func() error {
		if left := trace(t, l, n); left != "" {
			return errors.New(left)
		}
		return nil
	})
}
