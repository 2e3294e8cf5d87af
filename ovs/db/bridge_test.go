package db_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/ovs/db"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

func TestBridgeIsCreatedWithAllThatIsAsked(t *testing.T) {
	ovs, c := start(t)
	spec := db.BridgeSpec{
		Name: "br0", DatapathType: ovstest.Datapath(), FailMode: "secure",
		Protocols:   []string{"OpenFlow15", "OpenFlow13"},
		TableNames:  map[uint8]string{0: "classify", 7: "service"},
		OtherConfig: map[string]string{"hwaddr": "0a:58:00:00:00:01"},
		ExternalIDs: map[string]string{"a": "b"},
	}
	ensureBridge(t, c, spec, true)
	must(t, c.WaitApplied(t.Context()))
	got, ok := c.Bridge("br0")
	if !ok {
		t.Fatal("it is not there")
	}
	if len(got.DatapathID) != 16 {
		t.Errorf("datapath id %q", got.DatapathID)
	}
	got.DatapathID = ""
	want := db.Bridge{
		Name: "br0", DatapathType: ovstest.Datapath(), FailMode: "secure",
		Protocols: []string{"OpenFlow13", "OpenFlow15"}, TableNames: spec.TableNames, OtherConfig: spec.OtherConfig, ExternalIDs: spec.ExternalIDs,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the bridge differs (-want +got):\n%s", diff)
	}
	local, err := c.WaitPort(t.Context(), "br0", "br0")
	if err != nil || local.OFPort != 65534 || local.Type != "internal" {
		t.Errorf("its own port: %+v, %v", local, err)
	}
	eventuallyHasMAC(t, c, "br0", "0a:58:00:00:00:01")
	if got := ovs.Vsctl("get-fail-mode", "br0"); got != "secure" {
		t.Errorf("fail mode %s", got)
	}
	ensureBridge(t, c, spec, false)
	if diff := cmp.Diff([]string{"br0"}, c.Bridges()); diff != "" {
		t.Error(diff)
	}
}

func TestTableNamesAreSeenByOvsOfctl(t *testing.T) {
	ovs, c := withBridge(t)
	names := func(ofTables map[uint8]string, wantChanged bool) string {
		t.Helper()
		ensureBridge(t, c, db.BridgeSpec{Name: "br0", TableNames: ofTables}, wantChanged)
		must(t, c.WaitApplied(t.Context()))
		return ovs.Ofctl("--names", "--no-stats", "dump-flows", "br0")
	}
	ovs.Ofctl("add-flow", "br0", "table=0,actions=goto_table:3")
	ovs.Ofctl("add-flow", "br0", "table=3,actions=drop")

	if got := names(map[uint8]string{0: "classify", 3: "policy"}, true); !strings.Contains(got, "table=policy") || !strings.Contains(got, "goto_table:policy") {
		t.Errorf("named:\n%s", got)
	}
	if got := names(map[uint8]string{0: "classify", 3: "egress"}, true); !strings.Contains(got, "table=egress") {
		t.Errorf("renamed:\n%s", got)
	}
	if got := names(map[uint8]string{0: "classify"}, true); !strings.Contains(got, "table=3") {
		t.Errorf("name taken away:\n%s", got)
	}
	names(map[uint8]string{0: "classify"}, false)
	names(nil, false)
	if got := ovs.Vsctl("--columns=name", "--format=csv", "--no-headings", "list", "flow_table"); got != "classify" {
		t.Errorf("rows that are left: %q", got)
	}
}

func TestBridgeIsChangedOnlyWhereItDiffers(t *testing.T) {
	ovs, c := withBridge(t)
	ovs.Vsctl("set", "bridge", "br0", "external_ids:foreign=1", "other_config:foreign=2")

	ensureBridge(t, c, db.BridgeSpec{Name: "br0"}, false)
	ensureBridge(t, c, db.BridgeSpec{Name: "br0", DatapathType: ovstest.Datapath(), FailMode: "secure", Protocols: []string{"OpenFlow15"}}, false)
	ensureBridge(t, c, db.BridgeSpec{
		Name: "br0", FailMode: "standalone", Protocols: []string{"OpenFlow13", "OpenFlow15"},
		ExternalIDs: map[string]string{"ours": "1"}, OtherConfig: map[string]string{"disable-in-band": "true"},
	}, true)

	got, _ := c.Bridge("br0")
	want := db.Bridge{
		Name: "br0", DatapathID: got.DatapathID, DatapathType: ovstest.Datapath(), FailMode: "standalone",
		Protocols: []string{"OpenFlow13", "OpenFlow15"}, TableNames: map[uint8]string{},
		ExternalIDs: map[string]string{"ours": "1", "foreign": "1"}, OtherConfig: map[string]string{"disable-in-band": "true", "foreign": "2"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the bridge differs (-want +got):\n%s", diff)
	}
	ensureBridge(t, c, db.BridgeSpec{Name: "br0", ExternalIDs: map[string]string{"ours": "2"}}, true)
	if got := ovs.Vsctl("get", "bridge", "br0", "external_ids:ours"); got != `"2"` {
		t.Errorf("an overwritten key has %s", got)
	}
}

func TestDeletedBridgeGoesWithItsPortsAndMayBeDeletedAgain(t *testing.T) {
	ovs, c := withBridge(t)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{}))
	for range 2 {
		must(t, c.DeleteBridge(t.Context(), "br0"))
		if _, ok := c.Bridge("br0"); ok {
			t.Fatal("it is still there")
		}
	}
	if got := ovs.Vsctl("--columns=name", "list", "port"); got != "" {
		t.Errorf("ports are left: %s", got)
	}
}

func TestBridgeWithTheNameOfAPortIsErrExists(t *testing.T) {
	_, c := withBridge(t)
	must(t, c.AddPort(t.Context(), "br0", db.PortSpec{Name: "a", Type: "internal"}, db.BridgeNote{}))
	if _, err := c.EnsureBridge(t.Context(), db.BridgeSpec{Name: "a"}); !errors.Is(err, db.ErrExists) {
		t.Errorf("got %v", err)
	}
}

func TestBadValueIsTheServersErrorAndNamesTheBridge(t *testing.T) {
	_, c := start(t)
	_, err := c.EnsureBridge(t.Context(), db.BridgeSpec{Name: "br0", FailMode: "open"})
	if err == nil || errors.Is(err, db.ErrExists) || !strings.Contains(err.Error(), `"br0"`) {
		t.Errorf("got %v", err)
	}
	if _, ok := c.Bridge("br0"); ok {
		t.Error("it was created nevertheless")
	}
}

func TestNoteOnABridge(t *testing.T) {
	_, c := withBridge(t)
	must(t, c.NoteBridge(t.Context(), "br0", db.BridgeNote{Set: map[string]string{"k": "1", "l": "1"}}))
	must(t, c.NoteBridge(t.Context(), "br0", db.BridgeNote{Set: map[string]string{"k": "2"}, Remove: []string{"k", "l", "m"}}))
	if b, _ := c.Bridge("br0"); len(b.ExternalIDs) != 1 || b.ExternalIDs["k"] != "2" {
		t.Errorf("got %v", b.ExternalIDs)
	}
	if err := c.NoteBridge(t.Context(), "br1", db.BridgeNote{Set: map[string]string{"k": "1"}}); !errors.Is(err, db.ErrNoBridge) {
		t.Errorf("got %v", err)
	}
}
