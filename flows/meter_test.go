package flows_test

import (
	"testing"

	"github.com/sluice-cni/sluice/flows"
)

var someMeters = []flows.Meter{
	{ID: 1, Bands: []flows.Band{{Type: flows.BandDrop, Rate: 1000}}},
	{ID: 2, Unit: flows.PacketsPerSecond, Stats: true, Bands: []flows.Band{{Type: flows.BandDrop, Rate: 100, Burst: 20}}},
	{ID: flows.MeterMax, Bands: []flows.Band{{Type: flows.BandDrop, Rate: 1, Burst: 7}, {Type: flows.BandDSCPRemark, Rate: 4, Burst: 9, PrecLevel: 2}}},
	{ID: flows.MeterController, Unit: flows.PacketsPerSecond},
	{ID: flows.MeterSlowpath, Stats: true, Bands: []flows.Band{{Type: flows.BandDrop, Rate: 0xffffffff}}},
}

func TestMetersAreWrittenAndReadBack(t *testing.T) {
	texts := []string{
		"meter=1,kbps,bands=type=drop,rate=1000",
		"meter=2,pktps,burst,stats,bands=type=drop,rate=100,burst_size=20",
		"meter=4294901760,kbps,burst,bands=type=drop,rate=1,burst_size=7,type=dscp_remark,rate=4,burst_size=9,prec_level=2",
		"meter=controller,pktps,bands=",
		"meter=slowpath,kbps,stats,bands=type=drop,rate=4294967295",
	}
	for i, m := range someMeters {
		if got := m.String(); got != texts[i] {
			t.Errorf("got %s, want %s", got, texts[i])
		}
		if got, err := flows.ParseMeter(m.String()); err != nil || !got.Equal(m) {
			t.Errorf("%s comes back as %v, %v", m, got, err)
		}
	}
	dumped := "meter=7 pktps burst bands=\ntype=drop rate=5 burst_size=6\n"
	want := flows.Meter{ID: 7, Unit: flows.PacketsPerSecond, Bands: []flows.Band{{Type: flows.BandDrop, Rate: 5, Burst: 6}}}
	if got, err := flows.ParseMeter(dumped); err != nil || !got.Equal(want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestMetersThatNoSwitchShouldGetAreErrors(t *testing.T) {
	for _, text := range []string{
		"", "meter=0,kbps,bands=", "meter=4294967295,kbps,bands=", "meter=x", "meter=1,rate=7", "meter=1,type=other",
		"meter=1,bands=type=drop,rate=4294967296", "meter=1,surprise",
		"meter=1,bands=type=drop,rate=1,type=drop,rate=2,burst_size=1",
	} {
		if m, err := flows.ParseMeter(text); err == nil {
			t.Errorf("%q is %v", text, m)
		}
	}
}
