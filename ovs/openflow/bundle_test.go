package openflow

import (
	"net"
	"testing"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// TestSwitchTakesNoMeterIntoABundle is why Apply puts meters before it. If it fails
// with a newer Open vSwitch, they can be part of it there.
func TestSwitchTakesNoMeterIntoABundle(t *testing.T) {
	noLeak(t)
	ovs := ovstest.Start(t)
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+ovstest.Datapath(), "fail_mode=secure")
	nc, err := net.Dial("unix", ovs.MgmtSocket("br0"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	e := encoder{b: hello()}
	e.bundleControl(1, 1, bundleOpen)
	start := e.begin(kindBundleAdd, 2)
	e.u32(1)
	e.zero(2)
	e.u16(bundleFlags)
	e.meterMod(2, meterAdd, flows.Meter{ID: 1, Bands: []flows.Band{{Type: flows.BandDrop, Rate: 5}}})
	e.end(start)
	if _, err := nc.Write(e.b); err != nil || e.err != nil {
		t.Fatal(err, e.err)
	}
	frames := newFrameReader(nc)
	for {
		m, err := frames.next()
		if err != nil {
			t.Fatal(err)
		}
		if m.xid == 2 && m.kind != kindHello {
			if m.kind != kindError || decodeError(m.body).Name() != "OFPBFC_MSG_UNSUP" {
				t.Errorf("answered by %s", m.kind)
			}
			return
		}
	}
}

// TestSwitchCommitsABundleWithoutWhatItRefused is why Apply closes a bundle and
// waits before it commits. If it fails with a newer Open vSwitch, one round trip
// is enough there.
func TestSwitchCommitsABundleWithoutWhatItRefused(t *testing.T) {
	noLeak(t)
	ovs := ovstest.Start(t)
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+ovstest.Datapath(), "fail_mode=secure")
	nc, err := net.Dial("unix", ovs.MgmtSocket("br0"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	refused := someFlow
	refused.Priority, refused.Actions = 8, []flows.Action{flows.OutputTo{Port: 0x10000}}
	b := &bundle{Change: Change{Add: []flows.Flow{someFlow, refused}}, call: &call{base: 1}, id: 1}
	e := encoder{b: hello()}
	e.bundleControl(1, b.id, bundleOpen)
	b.message(&e, 0)
	b.message(&e, 1)
	e.bundleControl(4, b.id, bundleCommit)
	if _, err := nc.Write(e.b); err != nil || e.err != nil {
		t.Fatal(err, e.err)
	}
	frames := newFrameReader(nc)
	var errors int
	for {
		m, err := frames.next()
		if err != nil {
			t.Fatal(err)
		}
		if m.kind == kindError {
			errors++
		}
		if m.xid == 4 {
			if m.kind != kindBundleControl || errors != 1 {
				t.Fatalf("%d errors, then the commit is answered by %s", errors, m.kind)
			}
			break
		}
	}
	c, err := dial(t.Context(), ovs.MgmtSocket("br0"), nil, normal)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if list, err := c.Dump(t.Context()); err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
}
