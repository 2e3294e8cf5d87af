package scenarios

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// nothingLeft waits until no cable and no row is on the node.
func nothingLeft(t *testing.T, l *lab.Lab, n lab.NodeListing) {
	t.Helper()
	eventually(t, "nothing is left", func() error {
		if left := trace(t, l, n); left != "" {
			return errors.New(left)
		}
		return nil
	})
}

// TestAnADDFollowsADELInItsPlace: DEL has answered while the link's end is under way;
// who comes into the same namespace under the same name does not meet it.
func TestAnADDFollowsADELInItsPlace(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	for i := range 20 {
		c := call{verb: "ADD", container: fmt.Sprintf("c%d", i), netns: ns}
		if a := cni(t, n, c); a.failed {
			t.Fatalf("%s: %s", c.container, a.text)
		}
		deleted(t, n, c)
	}
	nothingLeft(t, l, n)
}

func TestTwoADDsOfOneContainerAtOnce(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	c := call{container: "c1", netns: ns}
	deleted(t, n, c) // before any ADD
	for range 10 {
		var answers [2]cniAnswer
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				c := c
				c.verb = "ADD"
				answers[i] = cni(t, n, c)
			})
		}
		wg.Wait()
		if answers[0].failed == answers[1].failed {
			t.Fatalf("not one of both: %s, %s", answers[0].text, answers[1].text)
		}
		for _, a := range answers {
			if a.failed && (a.Code != 999 || !strings.Contains(a.Msg, "already attached")) {
				t.Errorf("the other: %s", a.text)
			}
		}
		pings(t, l, n, ns)
		deleted(t, n, c)
		deleted(t, n, c)
	}
	nothingLeft(t, l, n)
}

func TestANamespaceVanishesDuringADD(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	outcomes := map[uint]int{}
	for i := range 40 {
		ns := ovstest.NewNamespace(t)
		c := call{verb: "ADD", container: fmt.Sprintf("c%d", i), netns: ns.Path}
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Duration(rand.IntN(8000)) * time.Microsecond) // the moment is any
			if err := netns.Delete(filepath.Base(ns.Path)); err != nil {
				t.Error(err)
			}
		})
		a := cni(t, n, c)
		wg.Wait()
		outcomes[a.Code]++
		if a.failed && a.Code != 4 && a.Code != 999 {
			t.Errorf("ADD: %s", a.text)
		}
		deleted(t, n, c)
	}
	t.Logf("how often which code: %v", outcomes)
	nothingLeft(t, l, n)
}

// stopped stops a process until the function that it returns is called, or the test ends.
func stopped(t *testing.T, pid int) (goOn func()) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn = sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	t.Cleanup(goOn)
	return goOn
}

// TestACallerThatGivesUp while the switch hangs: what was begun is taken back.
func TestACallerThatGivesUp(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	goOn := stopped(t, n.PIDs.Vswitchd)
	ctx, cancel := context.WithTimeout(testContext(t), 2*time.Second)
	defer cancel()
	err := netns.Do(n.Netns, func() error {
		cmd := exec.CommandContext(ctx, filepath.Join(n.CNIBinDir, "sluice"))
		cmd.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_NETNS=" + ns, "CNI_IFNAME=eth0"}
		cmd.Stdin = bytes.NewBufferString(fmt.Sprintf(goodConf, n.CNISocket))
		return cmd.Run()
	})
	if err == nil {
		t.Fatal("ADD succeeds while ovs-vswitchd hangs")
	}
	goOn()
	nothingLeft(t, l, n)
	eventually(t, "the node is ready", func() error {
		if a := cni(t, n, call{verb: "STATUS"}); a.failed {
			return errors.New(a.text)
		}
		return nil
	})
	if got := added(t, n, call{container: "c1", netns: ns}); got != "10.244.1.2" {
		t.Errorf("the address was not given back: %s", got)
	}
	deleted(t, n, call{container: "c1", netns: ns})
}

// TestWithoutTheAgent: DEL succeeds within seconds, ADD says at once to try again, and
// the lease is freed when the agent is back.
func TestWithoutTheAgent(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	for name, away := range map[string]func() (back func()){
		"stopped": func() func() {
			if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
				t.Fatal(err)
			}
			return func() { restarted(t, l, n, lab.Agent) }
		},
		"hanging": func() func() { return stopped(t, node(t, l, "n1").PIDs.Agent) },
	} {
		t.Run(name, func(t *testing.T) {
			here, gone := ovstest.NewNamespace(t).Path, ovstest.NewNamespace(t).Path
			added(t, n, call{container: "here", netns: here})
			added(t, n, call{container: "gone", netns: gone})
			back := away()
			if err := netns.Delete(filepath.Base(gone)); err != nil {
				t.Fatal(err)
			}
			for _, c := range []call{{container: "here", netns: here}, {container: "gone", netns: gone}, {container: "gone"}} {
				began := time.Now()
				deleted(t, n, c)
				if took := time.Since(began); took > slow.Bound(3*time.Second) {
					t.Errorf("DEL took %v", took)
				}
			}
			if left := trace(t, l, n); strings.Contains(left, "veth") {
				t.Errorf("cables are left: %s", left)
			}
			says := map[string]string{"stopped": "cannot reach the Sluice agent", "hanging": "hangs: no sign of life within 1.5s of ADD"}[name]
			began := time.Now()
			a := cni(t, n, call{verb: "ADD", container: "c1", netns: here})
			if took := time.Since(began); !a.failed || a.Code != 11 || !strings.Contains(a.Msg, says) || took > slow.Bound(3*time.Second) {
				t.Errorf("ADD, after %v: %s", took, a.text)
			}
			back()
			// What an agent that hung finds in its socket is of clients that have gone.
			nothingLeft(t, l, n)
		})
	}
}
