package openflow_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

func meters(t testing.TB, c *openflow.Conn) []flows.Meter {
	t.Helper()
	list, err := c.DumpMeters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []flows.Meter
	for _, e := range list {
		if e.Strange != "" {
			t.Fatalf("strange: %+v", e)
		}
		out = append(out, e.Meter)
	}
	slices.SortFunc(out, func(a, b flows.Meter) int { return int(a.ID) - int(b.ID) })
	return out
}

func dropAt(rate, burst uint32) []flows.Band {
	return []flows.Band{{Type: flows.BandDrop, Rate: rate, Burst: burst}}
}

func TestMetersComeBackAsTheyWentAndPrintAlike(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	list := []flows.Meter{
		{ID: 1, Bands: dropAt(1000, 0)},
		{ID: 1, Unit: flows.PacketsPerSecond, Stats: true, Bands: dropAt(50, 10)},
		{ID: 1, Bands: dropAt(7, 1)},
		{ID: flows.MeterController, Unit: flows.PacketsPerSecond, Bands: dropAt(100, 0)},
		{ID: flows.MeterSlowpath, Unit: flows.PacketsPerSecond, Bands: dropAt(100, 0)},
	}
	if ovstest.Datapath() != "system" { // whose meters have one band
		list = append(list, flows.Meter{ID: 1, Unit: flows.PacketsPerSecond, Bands: append(dropAt(50, 10), dropAt(500, 20)...)})
	}
	for _, m := range list {
		t.Run(m.String(), func(t *testing.T) {
			apply(t, c, openflow.Change{PutMeters: []flows.Meter{m}})
			got := meters(t, c)
			if i := slices.IndexFunc(got, func(o flows.Meter) bool { return o.ID == m.ID }); i < 0 || !got[i].Equal(m) {
				t.Errorf("got %v", got)
			}
			text := strings.NewReplacer("\n", ",", " ", ",").Replace(ovs.Ofctl("dump-meters", "br0"))
			if !strings.Contains(strings.ReplaceAll(text, "bands=,", "bands="), m.String()) {
				t.Errorf("ovs-ofctl prints %q", text)
			}
		})
	}
	apply(t, c, openflow.Change{RemoveMeters: []uint32{1, 1, 9, flows.MeterController, flows.MeterSlowpath}})
	if got := meters(t, c); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}

func TestRefusedMeterIsNamedAndNoFlowChanges(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	for _, tc := range []struct {
		meter flows.Meter
		want  string
	}{
		{flows.Meter{ID: 3, Bands: dropAt(0, 0)}, "OFPMMFC_BAD_RATE"},
		{flows.Meter{ID: 0}, "no meter's number"},
		{flows.Meter{ID: 3}, "OFPMMFC_OUT_OF_BANDS"},
		{flows.Meter{ID: 3, Bands: slices.Repeat(dropAt(1, 0), 200)}, "OFPMMFC_OUT_OF_BANDS"},
		{flows.Meter{ID: 3, Bands: slices.Repeat(dropAt(1, 0), 4000)}, "longer than 60000 bytes"},
		{flows.Meter{ID: 3, Bands: []flows.Band{{Type: flows.BandDSCPRemark, Rate: 1, PrecLevel: 1}}}, "OFPMMFC_BAD_BAND"},
	} {
		err := c.Apply(t.Context(), openflow.Change{PutMeters: []flows.Meter{tc.meter}, Add: routes(3)})
		var bad *openflow.MeterError
		if !errors.As(err, &bad) || !bad.Meter.Equal(tc.meter) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.meter, err)
		}
		equal(t, "flows", dumped(t, c), nil)
		if got := meters(t, c); len(got) != 0 {
			t.Errorf("%v", got)
		}
	}
}

// TestMeterKeepsItsFlowsWhenItChangesAndTakesThemWhenItGoes is why meters are
// removed last.
func TestMeterKeepsItsFlowsWhenItChangesAndTakesThemWhenItGoes(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	apply(t, c, openflow.Change{PutMeters: []flows.Meter{{ID: 5, Bands: dropAt(9, 0)}}})
	ovs.Ofctl("add-flow", "br0", "table=4,priority=4,actions=meter:5,output:1")
	apply(t, c, openflow.Change{PutMeters: []flows.Meter{{ID: 5, Bands: dropAt(10, 0)}}})
	if got := dump(t, c); len(got) != 1 {
		t.Errorf("%v", got)
	}
	apply(t, c, openflow.Change{RemoveMeters: []uint32{5}})
	if got := dump(t, c); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestThousandMetersAreOneChange(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	features, err := c.MeterFeatures(t.Context())
	if err != nil || features.Most < 1000 || !features.Drop {
		t.Fatalf("%+v, %v", features, err)
	}
	var list []flows.Meter
	var ids []uint32
	for i := range uint32(5000) {
		list = append(list, flows.Meter{ID: i + 1, Unit: flows.PacketsPerSecond, Bands: dropAt(i+1, 0)})
		ids = append(ids, i+1)
	}
	apply(t, c, openflow.Change{PutMeters: list, Add: routes(3)})
	if got := meters(t, c); !slices.EqualFunc(got, list, flows.Meter.Equal) {
		t.Errorf("%d came back", len(got))
	}
	if stats, err := c.MeterStats(t.Context()); err != nil || len(stats) != len(list) || len(stats[0].Bands) != 1 {
		t.Errorf("%d, %v", len(stats), err)
	}
	apply(t, c, openflow.Change{RemoveMeters: ids})
	if got := meters(t, c); len(got) != 0 {
		t.Errorf("left %d", len(got))
	}
}
