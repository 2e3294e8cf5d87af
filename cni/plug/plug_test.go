package plug_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/containernetworking/plugins/pkg/testutils"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// These tests need root: they make network namespaces, one of which plays the host,
// and take them away again.

var routerMAC = net.HardwareAddr{0x02, 0x53, 0x4c, 0, 0, 1}

func newNS(t testing.TB) ns.NetNS {
	t.Helper()
	n, err := testutils.NewNS()
	if err != nil {
		t.Fatalf("make a network namespace (as root?): %v", err)
	}
	t.Cleanup(func() {
		n.Close() // an open file would keep the mount busy
		if err := testutils.UnmountNS(n); err != nil {
			t.Error(err)
		}
	})
	return n
}

// onHost makes a namespace that plays the host, moves the test's thread into it, and
// makes another for a pod. The thread stays locked and so ends with the test.
func onHost(t testing.TB) (pod ns.NetNS) {
	t.Helper()
	host, pod := newNS(t), newNS(t)
	runtime.LockOSThread()
	if err := host.Set(); err != nil {
		t.Fatal(err)
	}
	return pod
}

func spec(pod ns.NetNS) plug.Spec {
	return plug.Spec{
		HostName:  plug.HostName("pods", "c1", "eth0"),
		Alias:     "pods/c1/eth0 of pod default/web",
		NetNS:     pod.Path(),
		IfName:    "eth0",
		MAC:       net.HardwareAddr{0x0a, 0x58, 10, 1, 0, 2},
		MTU:       1450,
		Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.2")},
		Routers:   []netip.Addr{netip.MustParseAddr("10.1.0.1")},
		RouterMAC: routerMAC,
	}
}

func create(t testing.TB, s plug.Spec) *plug.Cable {
	t.Helper()
	c, err := plug.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Label(); err != nil {
		t.Fatal(err)
	}
	return c
}

func addrs(s ...string) (a []netip.Addr) {
	for _, s := range s {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of cni/plug make network namespaces and need root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestACablePluggedInIsWhatTheSpecSays(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(*plug.Spec)
		addresses  []string
		routes     []string
		neighbours []string
		txChecksum bool
	}{
		"IPv4": {
			func(*plug.Spec) {},
			[]string{"10.1.0.2/32"},
			[]string{"0.0.0.0/0 via 10.1.0.1", "10.1.0.1/32"},
			[]string{"10.1.0.1 " + routerMAC.String()},
			true,
		},
		"IPv6": {
			func(s *plug.Spec) { s.Addresses, s.Routers = addrs("fd00::2"), addrs("fd00::1") },
			[]string{"fd00::2/128"},
			[]string{"::/0 via fd00::1", "fd00::1/128"},
			[]string{"fd00::1 " + routerMAC.String()},
			true,
		},
		"both, without checksum offload": {
			func(s *plug.Spec) {
				s.Addresses, s.Routers, s.ChecksumOffloadOff = addrs("10.1.0.2", "fd00::2"), addrs("10.1.0.1", "fd00::1"), true
			},
			[]string{"10.1.0.2/32", "fd00::2/128"},
			[]string{"0.0.0.0/0 via 10.1.0.1", "10.1.0.1/32", "::/0 via fd00::1", "fd00::1/128"},
			[]string{"10.1.0.1 " + routerMAC.String(), "fd00::1 " + routerMAC.String()},
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := onHost(t)
			s := spec(pod)
			c.change(&s)
			cable := create(t, s)
			if err := cable.Configure(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := plug.Inspect(s.NetNS, s.IfName)
			if err != nil {
				t.Fatal(err)
			}
			if got.Index != cable.IfIndex || got.HostIndex != cable.HostIndex || got.Kind != "veth" || got.MAC.String() != s.MAC.String() ||
				got.MTU != s.MTU || !got.Up || got.TxChecksum != c.txChecksum {
				t.Errorf("the container has %+v", got)
			}
			if diff := cmp.Diff(c.addresses, texts(got.Addresses)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.routes, texts(got.Routes)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.neighbours, texts(got.Neighbours)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func texts[T fmt.Stringer](list []T) (s []string) {
	for _, v := range list {
		s = append(s, v.String())
	}
	return s
}

func TestTheHostEndIsUpNamedAndWithoutIPv6(t *testing.T) {
	pod := onHost(t)
	s := spec(pod)
	s.Alias = strings.Repeat("long ", 100)
	cable := create(t, s)
	if err := cable.Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	ends, err := plug.HostEnds()
	if err != nil {
		t.Fatal(err)
	}
	want := []plug.HostEnd{{Name: s.HostName, Index: cable.HostIndex, Alias: s.Alias[:255], Up: true}}
	if diff := cmp.Diff(want, ends); diff != "" {
		t.Error(diff)
	}
	link, err := netlink.LinkByName(s.HostName)
	if err != nil {
		t.Fatal(err)
	}
	if link.Attrs().MTU != s.MTU {
		t.Errorf("the host end's MTU is %d", link.Attrs().MTU)
	}
	if list, err := rtnl.Addrs(rtnl.Here, link, netlink.FAMILY_ALL); err != nil || len(list) != 0 {
		t.Errorf("the host end has addresses %v (error %v)", list, err)
	}
}

func TestARetiredCableIsAbandonedAndGoesByItsIndex(t *testing.T) {
	pod := onHost(t)
	s := spec(pod)
	create(t, s)
	end := func() plug.HostEnd {
		t.Helper()
		ends, err := plug.HostEnds()
		if err != nil || len(ends) != 1 {
			t.Fatalf("host ends %v, error %v", ends, err)
		}
		return ends[0]
	}
	live := end()
	if live.Abandoned() {
		t.Error("a whole cable counts as abandoned")
	}
	if err := plug.Retire(s.HostName); err != nil {
		t.Fatal(err)
	}
	if !end().Abandoned() {
		t.Error("a retired cable does not count as abandoned")
	}
	other := live
	other.Index += 1000 // its name is not what counts
	if err := other.Remove(); err != nil {
		t.Error(err)
	}
	if end().Index != live.Index {
		t.Error("another link's removal took this one")
	}
	if err := live.Remove(); err != nil {
		t.Error(err)
	}
	if ends, err := plug.HostEnds(); err != nil || len(ends) != 0 {
		t.Errorf("left %v, error %v", ends, err)
	}
	if err := plug.Retire(s.HostName); err != nil {
		t.Errorf("retiring a cable that has gone: %v", err)
	}
}

func TestAnIPv6AddressIsUsableAtOnce(t *testing.T) {
	pod := onHost(t)
	s := spec(pod)
	s.Addresses, s.Routers = addrs("fd00::2"), addrs("fd00::1")
	// As some runtimes leave it.
	err := pod.Do(func(ns.NetNS) error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := create(t, s).Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = pod.Do(func(ns.NetNS) error {
		// An address that is still tentative cannot be bound.
		c, err := net.ListenPacket("udp", "[fd00::2]:0")
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTheContainerReachesItself(t *testing.T) {
	pod := onHost(t)
	if err := create(t, spec(pod)).Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := pod.Do(func(ns.NetNS) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		t.Errorf("by lo: %v", err)
	}
}

func TestNoThreadIsLeftInAContainersNamespace(t *testing.T) {
	pod := onHost(t)
	s := spec(pod)
	s.ChecksumOffloadOff = true
	if err := create(t, s).Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := plug.Inspect(s.NetNS, s.IfName); err != nil {
			t.Fatal(err)
		}
	}
	inside, err := os.Stat(pod.Path())
	if err != nil {
		t.Fatal(err)
	}
	threads, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, thread := range threads {
		if there, err := os.Stat(thread); err == nil && os.SameFile(there, inside) {
			t.Errorf("%s is in the container", thread)
		}
	}
}

// BenchmarkPlug takes the time of what an ADD waits for, and of what it does not:
// create, configure and remove in microseconds.
