//go:build kernel

package kernel

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/ovs/netns"
)

// TestTheKernelForwards holds that the lab is what this package is about: the kernel's
// datapath, on a node whose network card keeps its address.
func TestTheKernelForwards(t *testing.T) {
	l := up(t, 1, 1)
	for _, name := range []string{"n1", "n2"} {
		if got := status(t, l, name).Bridge.Datapath; got != "system" {
			t.Errorf("%s: datapath %q", name, got)
		}
		if got := run(t, l, "node/"+name, "ovs-vsctl", "list-br"); got != "br-sluice\n" {
			t.Errorf("%s: bridges %q", name, got)
		}
		if got := run(t, l, "node/"+name, "ip", "-4", "-o", "addr", "show", "phy"); !strings.Contains(got, node(t, l, name).Addresses[0].String()) {
			t.Errorf("%s: addresses of its card %q", name, got)
		}
		if r := reach(t, l, "a1", "a2", 0); !r.Reached {
			t.Error(r.Error)
		}
		ports := run(t, l, "node/"+name, "ovs-appctl", "dpctl/show", "system@ovs-system")
		for _, want := range []string{": br-sluice (internal)", ": sluice0 (internal)", ": genev_sys_6081 (geneve", ": slc"} {
			if strings.Count(ports, want) != 1 {
				t.Errorf("%s: %q is not one of the kernel's ports:\n%s", name, want, ports)
			}
		}
	}
}

// TestOffloadsStayOnInPods: with the kernel's datapath checksums and segmentation are
// left to the last device, which is where throughput comes from.
func TestOffloadsStayOnInPods(t *testing.T) {
	l := up(t, 1, 1)
	got := run(t, l, "a1", "ethtool", "-k", "eth0")
	// Generic receive offload is off on any veth unless somebody turns it on.
	for _, feature := range []string{"tx-checksumming", "rx-checksumming", "scatter-gather", "tcp-segmentation-offload", "generic-segmentation-offload"} {
		if !strings.Contains(got, feature+": on") {
			t.Errorf("%s is not on", feature)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	// What leaves the pod is larger than a packet may be: the tunnel's device cuts it.
	from, to := pod(t, l, "a1"), pod(t, l, "a2")
	large := hearLarge(t, node(t, l, "n1").Netns, "genev_sys_6081", 3000)
	send(t, from, to, 1<<20)
	if !large() {
		t.Error("no segment of over 3000 bytes went to the tunnel")
	}
}

// TestAnOversizedPacketGetsItsICMP: where a pod's device has a larger MTU than the way
// to the other node, a packet that may not be fragmented is answered, and the pod learns.
func TestAnOversizedPacketGetsItsICMP(t *testing.T) {
	l := up(t, 1, 1)
	const fits, tooLarge = 1450 - 28, 1451 - 28 // ICMP payload; Geneve takes 50 of 1500
	for _, name := range []string{"a1", "a2"} {
		p := pod(t, l, name)
		setMTU(t, p.Netns, "eth0", 1500)
		for _, port := range status(t, l, p.Node).Ports {
			if port.Pod == "default/"+name {
				setMTU(t, node(t, l, p.Node).Netns, port.Name, 1500)
			}
		}
	}
	if r := reach(t, l, "a1", "a2", fits); !r.Reached {
		t.Fatalf("a packet that fits: %s", r.Error)
	}
	if r := reach(t, l, "a1", "a2", tooLarge); r.Reached || !strings.Contains(r.Error, "MTU") {
		t.Errorf("a packet that is too large: %+v", r)
	}
	to := pod(t, l, "a2").Addresses[0].String()
	if got := run(t, l, "a1", "ip", "route", "get", to); !strings.Contains(got, "mtu 1450") {
		t.Errorf("the pod has not learnt the path's MTU: %s", got)
	}
	send(t, pod(t, l, "a1"), pod(t, l, "a2"), 1<<20)
}

func setMTU(t *testing.T, namespace, device string, mtu int) {
	t.Helper()
	err := netns.Do(namespace, func() error {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, mtu)
	})
	if err != nil {
		t.Fatal(fmt.Errorf("MTU of %s in %s: %w", device, namespace, err))
	}
}
