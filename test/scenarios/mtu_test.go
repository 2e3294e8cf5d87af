package scenarios

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// mtuIn is the MTU of a device in a namespace.
func mtuIn(ns, device string) (mtu int, err error) {
	err = netns.Do(ns, func() error {
		link, err := netlink.LinkByName(device)
		if err == nil {
			mtu = link.Attrs().MTU
		}
		return err
	})
	return mtu, err
}

// TestPodsFollowTheUnderlaysMTU: those that are there, at both ends, but not whose MTU the
// configuration says, and not who has been given another: that one is named.
func TestPodsFollowTheUnderlaysMTU(t *testing.T) {
	objects, err := lab.ParseObjects("test", []byte(strings.TrimPrefix(strings.TrimSpace(beside), "---")))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Families: lab.Dual, Objects: objects})
	n := node(t, l, "n1")
	a1, a2 := pod(t, l, "a1"), pod(t, l, "a2")
	asked := call{container: "asked", netns: ovstest.NewNamespace(t).Path, conf: confWith(n, `"mtu":1300`)}
	odd := call{container: "odd", netns: ovstest.NewNamespace(t).Path, verb: "ADD"}
	added(t, n, asked)
	result := cni(t, n, odd)
	if result.failed {
		t.Fatal(result.text)
	}
	is := func(what, ns, device string, want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("the MTU of %s is %d", what, want), func() error {
			got, err := mtuIn(ns, device)
			if err == nil && got != want {
				err = fmt.Errorf("it is %d", got)
			}
			return err
		})
	}
	ports := podsOf(t, n)
	follow := func(underlay, want int) {
		t.Helper()
		for _, name := range []string{"n1", "n2"} {
			on(t, l, "node/"+name, "ip", "link", "set", "phy", "mtu", strconv.Itoa(underlay))
		}
		is("a1", a1.Netns, "eth0", want)
		is("a2", a2.Netns, "eth0", want)
		for _, p := range ports {
			if p.Pod == "default/a1" {
				is("a1's other end", n.Netns, p.Port, want)
			}
		}
		is("the gateway", n.Netns, "sluice0", want)
		is("who was asked for another", asked.netns, "eth0", 1300)
	}
	follow(1400, 1350)
	is("who is like the others", odd.netns, "eth0", 1350)
	eventually(t, "a full packet passes", func() error {
		_, err := l.Exec(testContext(t), "a1", "ping", "-c1", "-W1", "-Mdo", "-s"+strconv.Itoa(1350-28), a2.Addresses[0].String())
		return err
	})
	check := call{verb: "CHECK", container: odd.container, netns: odd.netns, conf: strings.TrimSuffix(fmt.Sprintf(goodConf, n.CNISocket), "}") + `,"prevResult":` + result.text + "}"}
	if got := cni(t, n, check); got.failed {
		t.Errorf("CHECK of a pod that has followed: %s", got.text)
	}
	if err := netns.Do(odd.netns, func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, 1320)
	}); err != nil {
		t.Fatal(err)
	}
	follow(1500, 1450)
	is("who has been given another", odd.netns, "eth0", 1320)
	eventually(t, "it is named", func() error {
		broken, err := api.NewClient(n.AgentSocket).Check(testContext(t))
		if err != nil {
			return err
		}
		if len(broken) != 1 || !strings.Contains(broken[0].What, "container odd (eth0)") || !strings.Contains(broken[0].What, "1320, and not 1350; this node's pods have 1450") {
			return fmt.Errorf("%v", broken)
		}
		return nil
	})
	if got := cni(t, n, check); !got.failed || !strings.Contains(got.Msg, "the MTU of interface eth0") {
		t.Errorf("CHECK: %s", got.text)
	}
	deleted(t, n, odd)
	deleted(t, n, asked)
}

// TestTheFirstPeerOverIPv6LowersTheMTU: a tunnel over IPv6 takes 20 bytes more, and the pods that are there
// follow; when that peer has gone they have what they had.
func TestTheFirstPeerOverIPv6LowersTheMTU(t *testing.T) {
	objects, err := lab.ParseObjects("test", []byte(strings.TrimPrefix(strings.TrimSpace(beside), "---")))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Families: lab.Dual, Underlay: lab.Dual, Objects: objects})
	a1, a2 := pod(t, l, "a1"), pod(t, l, "a2")
	are := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("pods and gateways have an MTU of %d", want), func() error {
			for _, c := range []struct{ ns, device string }{
				{a1.Netns, "eth0"}, {a2.Netns, "eth0"}, {node(t, l, "n1").Netns, "sluice0"}, {node(t, l, "n2").Netns, "sluice0"},
			} {
				if got, err := mtuIn(c.ns, c.device); err != nil || got != want {
					return fmt.Errorf("%s in %s has %d, %v", c.device, c.ns, got, err)
				}
			}
			return nil
		})
		eventually(t, "a full packet passes, and a larger one is refused in the pod", func() error {
			full := strconv.Itoa(want - 28)
			if _, err := l.Exec(testContext(t), "a1", "ping", "-c1", "-W1", "-Mdo", "-s"+full, addressOf(t, a2.Addresses, true).String()); err != nil {
				return err
			}
			if _, err := l.Exec(testContext(t), "a1", "ping", "-c1", "-W1", "-Mdo", "-s"+full+"0", addressOf(t, a2.Addresses, true).String()); err == nil {
				return errors.New("it passes")
			}
			return nil
		})
	}
	are(1450)
	const peer = `
apiVersion: v1
kind: Node
metadata: {name: n3}
spec: {podCIDRs: ["fd00:10:244:3::/64"]}
status: {addresses: [{type: InternalIP, address: "fd09::3"}]}
`
	if err := l.ApplyYAML(testContext(t), peer); err != nil {
		t.Fatal(err)
	}
	are(1430)
	key, err := l.Find("node/n3")
	if err == nil {
		err = l.Delete(testContext(t), []lab.Key{key})
	}
	if err != nil {
		t.Fatal(err)
	}
	are(1450)
}
