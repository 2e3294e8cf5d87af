package scenarios

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// storm is how hard it blows: SLUICE_TEST_LONG=1 (make test-long) for the long form.
type storm struct {
	// cidr is the node's IPv4 podCIDR, of which capacity addresses are for pods. It has
	// one of IPv6 beside it, which is never full.
	cidr     string
	capacity int
	// living pods stay all the time; workers add and delete others all the time.
	living, workers int
	kills           int
}

func stormHere() storm {
	if os.Getenv("SLUICE_TEST_LONG") != "" {
		return storm{cidr: "10.244.77.0/24", capacity: 253, living: 200, workers: 12, kills: 60}
	}
	return storm{cidr: "10.244.77.0/26", capacity: 61, living: 20, workers: 6, kills: 8}
}

// TestDaemonsAreKilledOverAndOver: while containers are plugged in and out all the time,
// a daemon dies at any moment, again and again. What was acknowledged holds, and has its
// connectivity and its host ports; no address is held twice or lost; when all is deleted nothing is left.
func TestDaemonsAreKilledOverAndOver(t *testing.T) {
	for _, d := range []lab.Daemon{lab.Agent, lab.Vswitchd, lab.OVSDB} {
		t.Run(string(d), func(t *testing.T) { stormHere().blow(t, d) })
	}
}

func (s storm) blow(t *testing.T, d lab.Daemon) {
	objects, err := lab.ParseObjects("test", []byte("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [\"fd00:10:244:77::/64\", "+s.cidr+"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 1, Families: lab.Dual, Objects: objects})
	n := node(t, l, "n1")
	book := &ledger{t: t, held: map[string]string{}}
	spaces := map[string]string{}
	for i := range s.living {
		id := fmt.Sprintf("living%d", i)
		spaces[id] = ovstest.NewNamespace(t).Path
		conf := withHostPorts(n, fmt.Sprintf(`{"hostPort":%d,"containerPort":80,"protocol":"udp"}`, 7000+i))
		book.took(addedAll(t, n, call{container: id, netns: spaces[id], conf: conf}), id)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range s.workers {
		ns := ovstest.NewNamespace(t).Path
		wg.Go(func() { work(t, n, book, w, ns, stop) })
	}
	ready := func() {
		eventually(t, "the node is ready", func() error {
			if a := cni(t, n, call{verb: "STATUS"}); a.failed {
				return errors.New(a.text)
			}
			return nil
		})
	}
	for range s.kills {
		if rand.IntN(4) > 0 { // else it dies while it starts
			ready()
		}
		time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond) // the moment of death is any
		if err := l.Kill(testContext(t), "n1", d); err != nil {
			t.Fatal(err)
		}
		if err := l.Start(testContext(t), "n1", d); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d ADDs succeeded, %d did not, under %d deaths of %s", book.succeeded, book.failed, s.kills, d)

	// The daemon came back for the last time: all that was acknowledged works.
	ready()
	for _, ns := range spaces {
		pings(t, l, n, ns)
	}
	// What is left are the living. Then the whole podCIDR can be had, and not one address
	// more.
	eventually(t, "only the living are left", func() error {
		if left := trace(t, l, n); strings.Count(left, "veth") != s.living || strings.Count(left, "sluice-container") != s.living {
			return errors.New(left)
		}
		return nil
	})
	eventually(t, "each of the living has its host port, by both families", func() error {
		if ports := hostPortsOn(t, n); len(ports) != 2*s.living {
			return fmt.Errorf("%v", ports)
		}
		return nil
	})
	ns := ovstest.NewNamespace(t).Path
	var fill []call
	for i := range s.capacity - s.living {
		c := call{container: fmt.Sprintf("fill%d", i), netns: ns, ifname: fmt.Sprintf("f%d", i)}
		book.took(addedAll(t, n, c), c.container)
		fill = append(fill, c)
	}
	if a := cni(t, n, call{verb: "ADD", container: "more", netns: ns, ifname: "more"}); !a.failed || a.Code != 11 || !strings.Contains(a.Msg, fmt.Sprintf("%d held", s.capacity)) {
		t.Errorf("one more than there are: %s", a.text)
	}
	for _, c := range fill {
		deleted(t, n, c)
	}
	for id, ns := range spaces {
		deleted(t, n, call{container: id, netns: ns})
	}
	nothingLeft(t, l, n)
	nothingOfHostPorts(t, l, n)
	eventually(t, "nothing but the node's own flows is left", func() error {
		for _, f := range flowsOf(t, n) {
			if strings.HasPrefix(f.Owner, "pod ") {
				return errors.New(f.Text)
			}
		}
		return nil
	})
}

// ledger is who was told to have which address.
type ledger struct {
	t                 *testing.T
	mu                sync.Mutex
	held              map[string]string
	succeeded, failed int
}

func (b *ledger) took(addresses []string, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.succeeded++
	if len(addresses) != 2 {
		b.t.Errorf("%s was given %v, not an address of each family", id, addresses)
	}
	for _, addr := range addresses {
		if other, ok := b.held[addr]; ok {
			b.t.Errorf("%s was given to %s while %s has it", addr, id, other)
		}
		b.held[addr] = id
	}
}

func (b *ledger) refused() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed++
}

// gaveUp is before DEL frees the address, so that its next holder is none too early.
func (b *ledger) gaveUp(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for addr, holder := range b.held {
		if holder == id {
			delete(b.held, addr)
		}
	}
}

// work adds and deletes containers, as a runtime does: it deletes what it added, and what
// it could not add.
func work(t *testing.T, n lab.NodeListing, book *ledger, worker int, ns string, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		id := fmt.Sprintf("w%d-%d", worker, i)
		a := cni(t, n, call{verb: "ADD", container: id, netns: ns})
		switch {
		case !a.failed:
			book.took(a.addresses(), id)
		case a.Code != 11 && a.Code != 999:
			t.Errorf("ADD: %s", a.text)
		default:
			book.refused()
			time.Sleep(20 * time.Millisecond) // a runtime that is told to try again later waits for longer
		}
		book.gaveUp(id)
		if d := cni(t, n, call{verb: "DEL", container: id, netns: ns}); d.failed {
			t.Errorf("DEL: %s", d.text)
		}
	}
}
