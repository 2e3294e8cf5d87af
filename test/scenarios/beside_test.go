package scenarios

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// TestAnADDAloneBesideManyPods: its row is there before its cable. Whatever happens between
// the two, nothing is left behind and nothing else is plugged in.
func TestAnADDAloneBesideManyPods(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, crowd := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	var many []call
	for i := range 64 {
		c := call{container: fmt.Sprintf("crowd%d", i), netns: crowd, ifname: fmt.Sprintf("f%d", i)}
		added(t, n, c)
		many = append(many, c)
	}
	onlyTheCrowd := func() {
		t.Helper()
		eventually(t, "only the crowd is left", func() error {
			if left := trace(t, l, n); strings.Count(left, "veth") != len(many) || strings.Count(left, "sluice-container") != len(many) {
				return errors.New(left)
			}
			return nil
		})
	}
	ns := ovstest.NewNamespace(t).Path
	one := call{container: "one", netns: ns}

	added(t, n, one)
	pings(t, l, n, ns)
	if phases := logged(t, l, "verb=ADD container=one "); strings.Index(phases, "phases.row=") > strings.Index(phases, "phases.cable=") {
		t.Errorf("the row is not before the cable: %s", phases)
	}
	deleted(t, n, one)

	t.Run("a cable of that name is there", func(t *testing.T) {
		err := netns.Do(n.Netns, func() error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: wire.HostName("sluice", "one", "eth0")}, PeerName: "other"})
		})
		if err != nil {
			t.Fatal(err)
		}
		added(t, n, one)
		pings(t, l, n, ns)
		deleted(t, n, one)
		onlyTheCrowd()
	})
	t.Run("the namespace is not there", func(t *testing.T) {
		if a := cni(t, n, call{verb: "ADD", container: "one", netns: ns + "-gone"}); !a.failed || a.Code != 4 {
			t.Errorf("ADD: %s", a.text)
		}
		onlyTheCrowd()
	})
	t.Run("the namespace vanishes", func(t *testing.T) {
		for range 5 {
			ns := ovstest.NewNamespace(t).Path
			var wg sync.WaitGroup
			wg.Go(func() {
				time.Sleep(time.Duration(rand.IntN(8000)) * time.Microsecond) // the moment is any
				if err := netns.Delete(filepath.Base(ns)); err != nil {
					t.Error(err)
				}
			})
			c := call{verb: "ADD", container: "one", netns: ns}
			if a := cni(t, n, c); a.failed && a.Code != 4 && a.Code != 999 {
				t.Errorf("ADD: %s", a.text)
			}
			wg.Wait()
			deleted(t, n, c)
		}
		onlyTheCrowd()
	})
	t.Run("the agent dies", func(t *testing.T) {
		for range 5 {
			var wg sync.WaitGroup
			wg.Go(func() { cni(t, n, call{verb: "ADD", container: "one", netns: ns}) })
			time.Sleep(time.Duration(rand.IntN(20000)) * time.Microsecond) // the moment of death is any
			if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			restarted(t, l, n, lab.Agent)
			deleted(t, n, one)
		}
		onlyTheCrowd()
		added(t, n, one)
		pings(t, l, n, ns)
		deleted(t, n, one)
	})
	for _, c := range many {
		deleted(t, n, c)
	}
	nothingLeft(t, l, n)
}

// logged is the last line of the agent's log on node n1 with these words.
func logged(t *testing.T, l *lab.Lab, words string) string {
	t.Helper()
	path, err := l.LogFile("n1", lab.Agent)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, words) {
			last = line
		}
	}
	if last == "" {
		t.Fatalf("the agent's log has no line with %q", words)
	}
	return last
}
