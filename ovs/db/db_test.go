package db_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/db"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// start gives a test an Open vSwitch and a client of it.
func start(t *testing.T) (*ovstest.OVS, *db.Client) {
	t.Helper()
	ovs := ovstest.Start(t)
	return ovs, open(t, ovs)
}

func open(t *testing.T, ovs *ovstest.OVS) *db.Client {
	t.Helper()
	c, err := db.Open(t.Context(), ovs.DBEndpoint(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// withBridge gives a test a bridge br0 besides, which ovs-vswitchd has made.
func withBridge(t *testing.T) (*ovstest.OVS, *db.Client) {
	t.Helper()
	ovs, c := start(t)
	ensureBridge(t, c, db.BridgeSpec{Name: "br0", DatapathType: ovstest.Datapath(), FailMode: "secure", Protocols: []string{"OpenFlow15"}}, true)
	must(t, c.WaitApplied(t.Context()))
	return ovs, c
}

func ensureBridge(t *testing.T, c *db.Client, spec db.BridgeSpec, wantChanged bool) {
	t.Helper()
	changed, err := c.EnsureBridge(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if changed != wantChanged {
		t.Fatalf("EnsureBridge changed something: %v, want %v", changed, wantChanged)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until the condition holds, looking at each change.
func eventually(t *testing.T, c *db.Client, what string, holds func() bool) {
	t.Helper()
	bound := time.After(patience)
	for !holds() {
		select {
		case <-c.Changes():
		case <-bound:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// addVeths makes devices in the namespace of the switch.
func addVeths(t *testing.T, ovs *ovstest.OVS, names ...string) {
	t.Helper()
	ovs.Do(func() {
		for _, name := range names {
			addVeth(t, name)
		}
	})
}

func addVeth(t testing.TB, name string) {
	t.Helper()
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "p" + name}); err != nil {
		t.Fatal(err)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestOpenTellsWhatIsWrong(t *testing.T) {
	t.Run("no server", func(t *testing.T) {
		_, err := db.Open(t.Context(), "unix:/no/such/db.sock", discard())
		if err == nil || !strings.Contains(err.Error(), "/no/such/db.sock") || !strings.Contains(err.Error(), "is it running?") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("not a unix socket's endpoint", func(t *testing.T) {
		for _, endpoint := range []string{"", "tcp:127.0.0.1:6640", "unix:", "unix:db.sock", "/var/run/db.sock"} {
			if _, err := db.Open(t.Context(), endpoint, discard()); err == nil || !strings.Contains(err.Error(), "absolute path") {
				t.Errorf("%q: got %v", endpoint, err)
			}
		}
	})
}

func TestServerInfoIsTheServers(t *testing.T) {
	ovs, c := start(t)
	ovs.Vsctl("set", "open_vswitch", ".", "ovs_version=1.2.3", "db_version=4.5.6", "external_ids:system-id=me")
	// What another client wrote reaches the mirror after that client has its answer.
	eventually(t, c, "the three values", func() bool {
		info := c.Server()
		return info.OVSVersion == "1.2.3" && info.DBVersion == "4.5.6" && info.SystemID == "me"
	})
	info := c.Server()
	for _, want := range []string{"netdev", "system"} {
		if !strings.Contains(" "+strings.Join(info.DatapathTypes, " ")+" ", " "+want+" ") {
			t.Errorf("datapath types %v lack %s", info.DatapathTypes, want)
		}
	}
	if !strings.Contains(strings.Join(info.IfaceTypes, " "), "geneve") {
		t.Errorf("interface types %v", info.IfaceTypes)
	}
}

func TestOtherConfigOfTheSwitchLeavesForeignKeysAlone(t *testing.T) {
	ovs, c := start(t)
	ovs.Vsctl("set", "open_vswitch", ".", "other_config:foreign=1", "other_config:old=2")
	must(t, c.SetOpenvSwitchOtherConfig(t.Context(), map[string]string{"flow-restore-wait": "true"}, []string{"old", "never-there"}))
	if got := ovs.Vsctl("get", "open_vswitch", ".", "other_config"); got != `{flow-restore-wait="true", foreign="1"}` {
		t.Errorf("the server has %s", got)
	}
	must(t, c.SetOpenvSwitchOtherConfig(t.Context(), map[string]string{"flow-restore-wait": "false"}, nil))
	if got := c.OpenvSwitchOtherConfig(); got["flow-restore-wait"] != "false" || got["foreign"] != "1" || len(got) != 2 {
		t.Errorf("the cache has %v", got)
	}
}

func TestChangesTellsOfOthersWork(t *testing.T) {
	ovs, c := start(t)
	for range 2 { // what starting has caused
		select {
		case <-c.Changes():
		default:
		}
	}
	ovs.Vsctl("add-br", "br9", "--", "set", "bridge", "br9", "datapath_type="+ovstest.Datapath())
	eventually(t, c, "the bridge is seen", func() bool { _, ok := c.Bridge("br9"); return ok })
	ovs.Vsctl("del-br", "br9")
	eventually(t, c, "the bridge has gone", func() bool { _, ok := c.Bridge("br9"); return !ok })
}

func TestErrorsOfAnEndedContextComeAtOnce(t *testing.T) {
	_, c := withBridge(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.WaitPort(ctx, "br0", "br0"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("WaitPort: %v", err)
	}
	err := c.AddPort(ctx, "br0", db.PortSpec{Name: "x", Type: "internal"}, db.BridgeNote{})
	if _, there := c.Port("br0", "x"); there || !errors.Is(err, context.Canceled) || errors.Is(err, db.ErrUnknownOutcome) {
		t.Errorf("AddPort: %v; it is there: %v", err, there)
	}
}

func TestServerThatHasNoMoreThanTheModelIsEnough(t *testing.T) {
	// An older server lacks many columns of a newer schema: the least that the
	// client can do with is the schema that its model was generated from.
	schema, err := filepath.Abs("vswitch")
	must(t, err)
	t.Setenv("OVS_PKGDATADIR", schema)
	dir, err := os.MkdirTemp("", "sluice-db-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	server, err := daemon.New(dir, "")
	must(t, err)
	must(t, server.CreateDB(t.Context()))
	must(t, server.StartDB(t.Context()))
	t.Cleanup(func() { must(t, server.StopAll(context.Background())) })

	c, err := db.Open(t.Context(), server.DBEndpoint(), discard())
	must(t, err)
	defer c.Close()
	ensureBridge(t, c, db.BridgeSpec{Name: "br0", FailMode: "secure", TableNames: map[uint8]string{0: "classify"}}, true)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "a", OFPortRequest: 5}, db.BridgeNote{}))
	if p, ok := c.Port("br0", "a"); !ok || p.OFPort != 0 || p.OFPortRequest != 5 {
		t.Errorf("got %+v, %v", p, ok)
	}
}
