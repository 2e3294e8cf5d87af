package scenarios

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// refusedFor asks until the ADD is refused with a message that holds says; an ADD that
// succeeds before fails the test.
func refusedFor(t *testing.T, n lab.NodeListing, c call, says string) {
	t.Helper()
	c.verb = "ADD"
	eventually(t, "ADD is refused by "+says, func() error {
		a := cni(t, n, c)
		if !a.failed {
			t.Fatalf("given while it is held: %s", a.text)
		}
		if a.Code != 11 || !strings.Contains(a.Msg, says) {
			return errors.New(a.text)
		}
		return nil
	})
}

// TestAnAddressWhoseHolderIsGoing is refused while its row cannot be deleted, and given
// as soon as it is.
func TestAnAddressWhoseHolderIsGoing(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	first, second := ovstest.NewNamespace(t).Path, ovstest.NewNamespace(t).Path
	holder := call{container: "holder", netns: first, args: "IP=10.244.1.50;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart"}
	wants := call{container: "wants", netns: second, args: "IP=10.244.1.50"}
	added(t, n, holder)
	goOn := stopped(t, n.PIDs.OVSDB)
	var wg sync.WaitGroup
	wg.Go(func() {
		c := holder
		c.verb = "DEL"
		if d := cni(t, n, c); d.failed {
			t.Errorf("DEL: %s", d.text)
		}
	})
	refusedFor(t, n, wants, "10.244.1.50 is held by pod shop/cart (is being unplugged)")
	goOn()
	wg.Wait()
	eventually(t, "the address is given", func() error {
		c := wants
		c.verb = "ADD"
		if a := cni(t, n, c); a.failed {
			return errors.New(a.text)
		}
		return nil
	})
	pings(t, l, n, second)
	deleted(t, n, wants)
	deleted(t, n, holder)
	nothingLeft(t, l, n)
}

// TestAnAddressWhoseHolderIsAnOrphan is refused as long as a process lives in it.
func TestAnAddressWhoseHolderIsAnOrphan(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	first, second := ovstest.NewNamespace(t), ovstest.NewNamespace(t).Path
	end := inhabited(t, first.Path)
	added(t, n, call{container: "holder", netns: first.Path, args: "IP=10.244.1.50;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart"})
	if err := netns.Delete(filepath.Base(first.Path)); err != nil {
		t.Fatal(err)
	}
	wants := call{container: "wants", netns: second, args: "IP=10.244.1.50"}
	refusedFor(t, n, wants, "10.244.1.50 is held by pod shop/cart (an orphan: its network namespace is no longer at "+first.Path)
	end() // the kernel takes the namespace apart, and the cable with it
	eventually(t, "the address is given", func() error {
		c := wants
		c.verb = "ADD"
		a := cni(t, n, c)
		if a.failed && !strings.Contains(a.Msg, "pod shop/cart") {
			t.Fatal(a.text)
		}
		if a.failed {
			return errors.New(a.text)
		}
		return nil
	})
	pings(t, l, n, second)
	deleted(t, n, wants)
	nothingLeft(t, l, n)
}

// TestManyAskForOneAddress: one at a time has it, the others are told who.
func TestManyAskForOneAddress(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	var holders, given atomic.Int32
	var wg sync.WaitGroup
	for w := range 6 {
		ns := ovstest.NewNamespace(t).Path
		wg.Go(func() {
			for i := range 15 {
				c := call{verb: "ADD", container: fmt.Sprintf("w%d-%d", w, i), netns: ns, args: "IP=10.244.1.50"}
				a := cni(t, n, c)
				switch {
				case !a.failed:
					given.Add(1)
					if holders.Add(1) != 1 {
						t.Errorf("%s has it, and another too", c.container)
					}
					time.Sleep(5 * time.Millisecond) // a life
					holders.Add(-1)
				case a.Code != 11 || !strings.Contains(a.Msg, "10.244.1.50 is held by container w"):
					t.Errorf("ADD: %s", a.text)
				}
				c.verb = "DEL"
				if d := cni(t, n, c); d.failed {
					t.Errorf("DEL: %s", d.text)
				}
			}
		})
	}
	wg.Wait()
	if given.Load() < 2 {
		t.Errorf("given %d times", given.Load())
	}
	nothingLeft(t, l, n)
}

// TestWhatIsOwedToAnotherIPAMPlugin: an address of a container that the agent collected
// by itself goes back by the runtime's DEL, or by its GC.
func TestWhatIsOwedToAnotherIPAMPlugin(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	plugins, conf, leases := withHostLocal(t, n)
	owed := func() int {
		return strings.Count(on(t, l, "node/n1", "ovs-vsctl", "--db=unix:"+n.OVSRunDir+"/db.sock", "get", "bridge", "br-sluice", "external_ids"), "sluice-owed-")
	}
	collected := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			ns := ovstest.NewNamespace(t).Path
			added(t, n, call{container: id, netns: ns, conf: conf, path: plugins})
			if err := netns.Delete(filepath.Base(ns)); err != nil {
				t.Fatal(err)
			}
		}
		nothingLeft(t, l, n)
		if leases() != len(ids) || owed() != len(ids) {
			t.Errorf("of %d collected %d have their address still, %d are owed", len(ids), leases(), owed())
		}
	}
	gc := func(valid string) {
		t.Helper()
		if a := cni(t, n, call{verb: "GC", path: plugins, conf: strings.TrimSuffix(conf, "}") + `,"cni.dev/valid-attachments":[` + valid + `]}`}); a.failed {
			t.Errorf("GC: %s", a.text)
		}
	}
	collected("c1")
	deleted(t, n, call{container: "c1", conf: conf, path: plugins})
	if leases() != 0 || owed() != 0 {
		t.Errorf("after the runtime's DEL: %d leases, %d owed", leases(), owed())
	}
	collected("c2", "c3")
	gc(`{"containerID":"c3","ifname":"eth0"}`)
	if leases() != 1 || owed() != 1 {
		t.Errorf("after a GC that lists c3: %d leases, %d owed", leases(), owed())
	}
	gc("")
	if leases() != 0 || owed() != 0 {
		t.Errorf("after a GC that lists nothing: %d leases, %d owed", leases(), owed())
	}
}
