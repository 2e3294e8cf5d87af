package main

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/containernetworking/plugins/pkg/testutils"
	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/ovs/rtnl"
	"github.com/sluice-cni/sluice/test/slow"
)

// host moves the test's thread, and with it the processes it starts, into a fresh
// network namespace. It needs root. The thread stays locked and so ends with the test.
func host(t *testing.T) {
	t.Helper()
	ns, err := testutils.NewNS()
	if err != nil {
		t.Fatalf("make a network namespace (as root?): %v", err)
	}
	t.Cleanup(func() {
		ns.Close()
		if err := testutils.UnmountNS(ns); err != nil {
			t.Error(err)
		}
	})
	runtime.LockOSThread()
	if err := ns.Set(); err != nil {
		t.Fatal(err)
	}
}

func addVeth(t *testing.T, name, peer string) {
	t.Helper()
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer}); err != nil {
		t.Fatal(err)
	}
}

func links(t *testing.T) (names []string) {
	t.Helper()
	list, err := rtnl.Links(rtnl.Here)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		if l.Attrs().Name != "lo" {
			names = append(names, l.Attrs().Name)
		}
	}
	return names
}

func TestDELSucceedsWithoutAnAgent(t *testing.T) {
	for name, socket := range map[string]func(t *testing.T) string{
		"that is there":    func(*testing.T) string { return "/nonexistent/cni.sock" },
		"that speaks":      func(t *testing.T) string { return strangeAgent(t, "", false) },
		"that makes sense": func(t *testing.T) string { return strangeAgent(t, frame("hello"), false) },
		"that answers":     func(t *testing.T) string { return strangeAgent(t, "", true) },
	} {
		t.Run(name, func(t *testing.T) {
			path := socket(t) // before the thread moves
			host(t)
			addVeth(t, wire.HostName("pods", "c1", "eth0"), "peer0")
			addVeth(t, wire.HostName("pods", "c2", "eth0"), "peer1")

			o := runPlugin(t, config(path), variables("DEL")...)
			if o.status != 0 || o.stdout != "" || !strings.Contains(o.stderr, wire.HostName("pods", "c1", "eth0")) {
				t.Errorf("%+v", o)
			}
			if o.took > slow.Bound(3*time.Second) {
				t.Errorf("it took %v", o.took)
			}
			if left := strings.Join(links(t), " "); !strings.Contains(left, "peer1") || strings.Contains(left, "peer0") {
				t.Errorf("left are %s", left)
			}

			if path != "/nonexistent/cni.sock" {
				return
			}
			if o := runPlugin(t, config(path), variables("DEL")...); o.status != 0 || o.stdout != "" {
				t.Errorf("the second time: %+v", o)
			}
		})
	}
}

// TestDELWithoutAnAgentBringsADeviceHome: that of its own network and interface, whatever the container calls it.
func TestDELWithoutAnAgentBringsADeviceHome(t *testing.T) {
	host(t)
	pod, err := testutils.NewNS()
	if err != nil {
		t.Fatal(err)
	}
	defer testutils.UnmountNS(pod)
	defer pod.Close()
	for name, alias := range map[string]string{"mine": "sluice: net=pods if=eth0 t=1", "other": "sluice: net=pods if=net1", "plain": "net=pods if=eth0"} {
		addVeth(t, name, name+"-end")
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetAlias(link, alias)
		}
		if err == nil {
			err = netlink.LinkSetNsFd(link, int(pod.Fd()))
		}
		if err == nil {
			err = pod.Do(func(ns.NetNS) error { return netlink.LinkSetUp(link) })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	conf := strings.TrimSuffix(config("/nonexistent/cni.sock"), "}") + `,"device":"spare0"}`
	passing := wire.PassingName("pods", "c1", "eth0")
	for range 2 {
		o := runPlugin(t, conf, append(variables("DEL"), "CNI_NETNS="+pod.Path())...)
		if o.status != 0 || o.stdout != "" || !strings.Contains(o.stderr, "device spare0") {
			t.Errorf("%+v", o)
		}
		if home := strings.Join(links(t), " "); !strings.Contains(home, passing) || strings.Contains(home, "other ") || strings.Contains(home, "plain ") {
			t.Errorf("at home are %s", home)
		}
	}
	for _, netNS := range []string{"", "/nonexistent", "/dev/null"} {
		if o := runPlugin(t, conf, append(variables("DEL"), "CNI_NETNS="+netNS)...); o.status != 0 {
			t.Errorf("namespace %q: %+v", netNS, o)
		}
	}
}

func TestDeletingALinkThatTheKernelKeepsIsAnError(t *testing.T) {
	host(t)
	if err := deleteLink("lo"); err == nil {
		t.Error("lo is deleted")
	}
}

func TestAnswersOfNetlinkAreRead(t *testing.T) {
	for name, m := range map[string][]byte{"short": make([]byte, 10), "of another kind": make([]byte, 40)} {
		if _, err := acknowledged(m); err == nil {
			t.Errorf("one that is %s is taken", name)
		}
	}
}
