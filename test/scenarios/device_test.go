package scenarios

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// spare makes a device on the node, as another network card would be, with something at
// its other end that has the address 10.97.0.1.
func spare(t *testing.T, l *lab.Lab, n lab.NodeListing) {
	t.Helper()
	for _, args := range [][]string{
		{"link", "add", "spare0", "mtu", "1400", "type", "veth", "peer", "name", "spare1"},
		{"link", "set", "spare0", "up", "alias", "the operator's"},
		{"link", "set", "spare1", "up"},
		{"address", "add", "10.97.0.1/24", "dev", "spare1"},
	} {
		on(t, l, "node/"+n.Name, append([]string{"ip"}, args...)...)
	}
}

// home tells what the device is like on the node.
func home(t *testing.T, n lab.NodeListing) string {
	t.Helper()
	out := "away"
	err := netns.Do(n.Netns, func() error {
		link, err := netlink.LinkByName("spare0")
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err != nil {
			return err
		}
		a := link.Attrs()
		out = fmt.Sprintf("%s mtu %d %s %q", a.HardwareAddr, a.MTU, map[bool]string{true: "up", false: "down"}[a.Flags&net.FlagUp != 0], a.Alias)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAMovedDeviceComesHome after DEL, after GC, when the namespace vanishes, when the agent
// was away meanwhile, and when the kernel has brought it home under another name: as it was.
func TestAMovedDeviceComesHome(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	spare(t, l, n)
	before := home(t, n)
	conf := strings.Replace(confWith(n, `"device":"spare0"`+staticIPAM("10.97.0.2/24")), `"name":"sluice"`, `"name":"card"`, 1)
	lend := func() (*ovstest.Namespace, call) {
		t.Helper()
		ns := ovstest.NewNamespace(t)
		c := call{container: "lent", netns: ns.Path, ifname: "net1", conf: conf}
		plugged(t, n, c)
		if !sees(t, ns.Path, "net1", "10.97.0.1") || home(t, n) != "away" {
			t.Fatalf("the device is %s", home(t, n))
		}
		return ns, c
	}
	isHome := func(what string) {
		t.Helper()
		eventually(t, what+": the device is home", func() error {
			if h := home(t, n); h != before {
				return errors.New(h)
			}
			return nil
		})
	}
	t.Run("DEL", func(t *testing.T) {
		_, c := lend()
		other := c
		other.verb, other.container, other.netns = "ADD", "other", ovstest.NewNamespace(t).Path
		if a := cni(t, n, other); !a.failed {
			t.Errorf("lent twice: %s", a.text)
		}
		unplugged(t, n, c)
		if h := home(t, n); h != before {
			t.Errorf("right after DEL it is %s, was %s", h, before)
		}
		unplugged(t, n, c)
	})
	t.Run("DEL after the pod renamed and changed it", func(t *testing.T) {
		ns, c := lend()
		err := netns.Do(ns.Path, func() error {
			for _, args := range [][]string{{"link", "set", "net1", "down"}, {"link", "set", "net1", "name", "mine", "address", "02:00:00:00:00:09", "mtu", "1300"}} {
				if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
					return fmt.Errorf("%s", out)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		unplugged(t, n, c)
		isHome("DEL")
	})
	t.Run("GC", func(t *testing.T) {
		lend()
		reference, err := referencePlugins()
		if err != nil {
			t.Fatal(err)
		}
		if g := cni(t, n, call{verb: "GC", path: reference, conf: strings.TrimSuffix(conf, "}") + `,"cni.dev/valid-attachments":[]}`}); g.failed {
			t.Error(g.text)
		}
		isHome("GC")
	})
	t.Run("a namespace that vanished", func(t *testing.T) {
		ns, _ := lend()
		end := inhabited(t, ns.Path)
		eventually(t, "the agent has seen its process", func() error {
			time.Sleep(3 * time.Second)
			return nil
		})
		if err := netns.Delete(filepath.Base(ns.Path)); err != nil {
			t.Fatal(err)
		}
		end()
		within(t, 40*time.Second, "the device is home", func() error {
			if h := home(t, n); h != before {
				return errors.New(h)
			}
			return nil
		})
	})
	// What the kernel does with a physical device when its namespace ends, wherever the
	// node is: it moves it, under the name that it has, and down.
	returned := func(ns *ovstest.Namespace) {
		t.Helper()
		err := netns.Do(ns.Path, func() error {
			out, err := exec.Command("ip", "link", "set", "net1", "netns", filepath.Base(n.Netns)).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("the kernel brings it home under the pod's name", func(t *testing.T) {
		ns, _ := lend()
		returned(ns)
		isHome("by itself")
	})
	t.Run("a DEL while the agent is away", func(t *testing.T) {
		ns, c := lend()
		if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
		unplugged(t, n, c)
		unplugged(t, n, c)
		if links := on(t, l, "node/n1", "ip", "-o", "link", "show"); !strings.Contains(links, ": sld") {
			t.Errorf("without an agent it has not come home: %s", links)
		}
		ns.Delete() // and other kinds of devices with it
		restarted(t, l, n, lab.Agent)
		isHome("the agent is back")
	})
	t.Run("a DEL while the agent is away, and then the kernel", func(t *testing.T) {
		ns, c := lend()
		if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
		c.netns = "" // the runtime has lost it
		unplugged(t, n, c)
		returned(ns)
		ns.Delete()
		restarted(t, l, n, lab.Agent)
		isHome("the agent is back")
	})
	t.Run("an agent that starts again", func(t *testing.T) {
		_, c := lend()
		if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
		restarted(t, l, n, lab.Agent)
		if h := home(t, n); h != "away" {
			t.Errorf("it came home: %s", h)
		}
		unplugged(t, n, c)
		isHome("DEL")
	})
	on(t, l, "node/n1", "ip", "link", "del", "spare0")
	noTraceLeft(t, l, n)
}
