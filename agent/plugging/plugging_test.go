package plugging

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/cni/ipam"
	"github.com/sluice-cni/sluice/flows/state"
)

func TestTheNewestSandboxIsThePod(t *testing.T) {
	at := func(container, pod, uid, ifname string, created int64) lease.Lease {
		return lease.Lease{Attachment: state.Attachment{Network: "n", ContainerID: container, IfName: ifname, PodNamespace: "shop", PodName: pod, PodUID: uid, Created: created}}
	}
	nobody := at("plain", "", "", "eth0", 9)
	older := superseded([]lease.Lease{
		at("old", "cart", "u1", "eth0", 1), at("new", "cart", "u1", "eth0", 3), at("middle", "cart", "u1", "eth0", 2),
		at("new", "cart", "u1", "net1", 1), // another interface of the same sandbox
		at("recreated", "cart", "u2", "eth0", 9), at("other", "till", "u1", "eth0", 9), nobody, nobody,
	})
	if len(older) != 2 || !older[at("old", "", "", "eth0", 0).Key()] || !older[at("middle", "", "", "eth0", 0).Key()] {
		t.Errorf("superseded are %v", older)
	}
}

func TestAnAddressOfEachFamilyIsChosen(t *testing.T) {
	ranges := ipam.Whole(netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("10.1.0.0/29"))
	held := map[netip.Addr]string{netip.MustParseAddr("10.1.0.2"): "pod shop/cart"}
	asks := func(addrs ...string) (a conf.Ask) {
		for _, s := range addrs {
			a.Addresses = append(a.Addresses, netip.MustParseAddr(s))
		}
		a.AddressesBy = "runtimeConfig.ips"
		return a
	}
	for _, c := range []struct {
		ask  conf.Ask
		want string
		code uint
	}{
		{conf.Ask{}, "10.1.0.3 fd00::2", 0},
		{asks("fd00::9"), "10.1.0.3 fd00::9", 0},
		{asks("fd00::9", "10.1.0.5"), "10.1.0.5 fd00::9", 0},
		{asks("10.1.0.2"), "", types.ErrTryAgainLater},
		{asks("10.1.0.7"), "", types.ErrInvalidNetworkConfig},
	} {
		got, err := choose(ranges, c.ask, held, map[netip.Addr]time.Time{})
		var words []string
		for _, a := range got {
			words = append(words, a.String())
		}
		var e *types.Error
		if c.code == 0 && (err != nil || strings.Join(words, " ") != c.want) || c.code != 0 && (!errors.As(err, &e) || e.Code != c.code) {
			t.Errorf("%v: %v, %v", c.ask.Addresses, got, err)
		}
	}
}

func TestMetricsAreHistogramsByPhase(t *testing.T) {
	m := newMetrics()
	parts := phases{took: []phase{{"row", 2 * time.Millisecond}}}
	m.note("ADD", 3*time.Millisecond, &parts, nil)
	m.note("ADD", 20*time.Second, &phases{}, nil)
	m.note("DEL", time.Second, &phases{}, tryAgain("later"))
	m.note("JUMP", time.Second, &phases{}, errors.New("no such verb"))
	var out strings.Builder
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`sluice_cni_phase_seconds_bucket{phase="all",verb="ADD",le="0.002"} 0`,
		`sluice_cni_phase_seconds_bucket{phase="all",verb="ADD",le="0.005"} 1`,
		`sluice_cni_phase_seconds_bucket{phase="all",verb="ADD",le="10"} 1`,
		`sluice_cni_phase_seconds_bucket{phase="all",verb="ADD",le="+Inf"} 2`,
		`sluice_cni_phase_seconds_sum{phase="all",verb="ADD"} 20.003`,
		`sluice_cni_phase_seconds_bucket{phase="row",verb="ADD",le="0.002"} 1`,
		`sluice_cni_failures_total{code="11",verb="DEL"} 1`,
		`sluice_cni_failures_total{code="999",verb="unknown"} 1`,
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("no line %s in\n%s", line, out.String())
		}
	}
}
