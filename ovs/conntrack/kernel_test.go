package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// remember puts a connection into the kernel's table.
func remember(t *testing.T, m Match) {
	t.Helper()
	req := request(ctMessages, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, m.Original.Src.Addr().Is6())
	for kind, tuple := range map[int]Tuple{nl.CTA_TUPLE_ORIG: m.Original, nl.CTA_TUPLE_REPLY: m.Reply} {
		a, _ := m.attr(kind, tuple)
		req.AddData(a)
	}
	req.AddData(nl.NewRtAttr(nl.CTA_TIMEOUT, nl.BEUint32Attr(600)))
	req.AddData(nl.NewRtAttr(ctaZone, nl.BEUint16Attr(m.Zone)))
	if _, err := req.Execute(unix.NETLINK_NETFILTER, 0); err != nil {
		t.Fatalf("remember %s: %v", m, err)
	}
}

// known are the sources of the connections of a zone and protocol that there are.
func known(t *testing.T, zone uint16, protocol uint8) []string {
	t.Helper()
	var out []string
	for _, six := range []bool{false, true} {
		list, err := Match{Zone: zone, Protocol: protocol}.list(six)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			out = append(out, c.original.Src.String())
		}
	}
	slices.Sort(out)
	return out
}

// translated is a connection from src to a virtual address, translated to a backend.
func translated(zone uint16, protocol uint8, src, virtual, backend string) Match {
	s, v, b := netip.MustParseAddrPort(src), netip.MustParseAddrPort(virtual), netip.MustParseAddrPort(backend)
	return Match{Zone: zone, Protocol: protocol, Original: Tuple{Src: s, Dst: v}, Reply: Tuple{Src: b, Dst: s}}
}

func TestTheKernelForgetsWhatIsLikeThePartAndNothingElse(t *testing.T) {
	ovstest.NewNamespace(t).Do(func() {
		const dns, other = "10.96.0.10:53", "10.96.0.11:53"
		for _, m := range []Match{
			translated(100, UDP, "10.244.1.2:1000", dns, "10.244.1.9:5353"), // to the one that goes
			translated(100, UDP, "10.244.1.3:1001", dns, "10.244.1.9:5353"),
			translated(100, UDP, "10.244.1.2:1002", dns, "10.244.2.9:5353"),   // to a healthy one
			translated(100, UDP, "10.244.1.2:1003", other, "10.244.1.9:5353"), // of another Service
			translated(100, UDP, "10.244.1.2:1004", dns, "10.244.1.9:5354"),   // at another port
			translated(100, TCP, "10.244.1.2:1005", dns, "10.244.1.9:5353"),
			translated(0, UDP, "10.244.1.2:1006", dns, "10.244.1.9:5353"), // the host's
			translated(100, UDP, "[fd00::2]:1007", "[fd00:96::a]:53", "[fd00:1::9]:5353"),
			translated(100, SCTP, "10.244.1.2:1008", dns, "10.244.1.9:5353"),
			translated(100, SCTP, "10.244.1.2:1009", dns, "10.244.1.9:5354"),
		} {
			remember(t, m)
		}
		forget := func(m Match, want string) {
			t.Helper()
			if err := (Kernel{}).Forget(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, zone := range []uint16{0, 100} {
				for _, protocol := range []uint8{UDP, TCP, SCTP} {
					for _, src := range known(t, zone, protocol) {
						left = append(left, fmt.Sprint(netip.MustParseAddrPort(src).Port()))
					}
				}
			}
			slices.Sort(left)
			if got := fmt.Sprint(left); got != want {
				t.Errorf("after forgetting %s there are\n%s, not\n%s", m, got, want)
			}
		}
		gone := translated(100, UDP, "10.0.0.0:1", dns, "10.244.1.9:5353")
		gone.Original.Src, gone.Reply.Dst = netip.AddrPort{}, netip.AddrPort{}
		forget(gone, "[1002 1003 1004 1005 1006 1007 1008 1009]")
		forget(gone, "[1002 1003 1004 1005 1006 1007 1008 1009]")
		six := translated(100, UDP, "[::]:1", "[fd00:96::a]:53", "[fd00:1::9]:5353")
		six.Original.Src, six.Reply.Dst = netip.AddrPort{}, netip.AddrPort{}
		forget(six, "[1002 1003 1004 1005 1006 1008 1009]")
		gone.Protocol = SCTP // whose ports the kernel does not look at
		forget(gone, "[1002 1003 1004 1005 1006 1009]")
		port := func(zone uint16) Match {
			return Match{Zone: zone, Protocol: UDP, Original: Tuple{Dst: netip.AddrPortFrom(netip.Addr{}, 53)}}
		}
		forget(port(0), "[1002 1003 1004 1005 1009]")
		forget(port(100), "[1005 1009]")
	})
}

func TestWhatIsTooMuchToForgetIsRefused(t *testing.T) {
	four, six := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("[fd00::1]:1")
	for name, m := range map[string]Match{
		"everything":    {Zone: 100, Protocol: UDP},
		"any protocol":  {Zone: 100, Original: Tuple{Dst: four}},
		"both families": {Zone: 100, Protocol: UDP, Original: Tuple{Dst: four}, Reply: Tuple{Src: six}},
	} {
		if err := (Kernel{}).Forget(t.Context(), m); err == nil || errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
