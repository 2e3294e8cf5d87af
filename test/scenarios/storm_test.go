package scenarios

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// TestTheAgentIsKilledOverAndOver: while containers are plugged in and out all the
// time, the agent dies at any moment. What was acknowledged holds; no address is held
// twice or lost; when all is deleted nothing is left.
func TestTheAgentIsKilledOverAndOver(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	const workers, kills = 6, 8
	var (
		mu   sync.Mutex
		held = map[string]string{} // address -> container
		wg   sync.WaitGroup
	)
	stop := make(chan struct{})
	for w := range workers {
		ns := ovstest.NewNamespace(t).Path
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("w%d-%d", w, i)
				a := cni(t, n, call{verb: "ADD", container: id, netns: ns})
				if !a.failed {
					addr := a.IPs[0].Address
					mu.Lock()
					if other, ok := held[addr]; ok {
						t.Errorf("%s was given to %s while %s has it", addr, id, other)
					}
					held[addr] = id
					mu.Unlock()
				} else if a.Code != 11 && a.Code != 999 {
					t.Errorf("ADD: %s", a.text)
				}
				// Given up before DEL frees it, so that its next holder is none too early.
				mu.Lock()
				for addr, holder := range held {
					if holder == id {
						delete(held, addr)
					}
				}
				mu.Unlock()
				// A runtime deletes what it added, and what it could not add.
				if d := cni(t, n, call{verb: "DEL", container: id, netns: ns}); d.failed {
					t.Errorf("DEL: %s", d.text)
				}
			}
		})
	}
	for range kills {
		time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond) // the moment of death is any
		if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
		if err := l.Start(testContext(t), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	eventually(t, "nothing is left", func() error {
		if left := trace(t, l, n); left != "" {
			return errors.New(left)
		}
		return nil
	})
	eventually(t, "nothing but the node's own flows is left", func() error {
		for _, f := range flowsOf(t, n) {
			if strings.HasPrefix(f.Owner, "pod ") {
				return errors.New(f.Text)
			}
		}
		return nil
	})
}
