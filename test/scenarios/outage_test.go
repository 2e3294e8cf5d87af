//go:build long

package scenarios

import (
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// endBeside ends all traffic of which some may be lost while userspace Open vSwitch
// itself forwards nothing, and holds the longest silence against that of the static
// flow in the same ovs-vswitchd. No connection may be reset all the same.
func (w *ways) endBeside(t *testing.T) {
	t.Helper()
	for _, s := range w.streams {
		s.Stop()
	}
	theirs := w.control.Finish()
	traffic.Measured(t, "%s: %d of %d lost, longest silence %d ms", w.control.Name, len(theirs.Lost), theirs.Sent, theirs.Silence.Milliseconds())
	for _, d := range w.dials {
		d.EndLate(t, slow.Bound(10*time.Second))
	}
	for _, s := range w.streams {
		ours := s.Finish()
		traffic.Measured(t, "%s: %d of %d lost, longest silence %d ms, %.2f times the static flow's",
			s.Name, len(ours.Lost), ours.Sent, ours.Silence.Milliseconds(), float64(ours.Silence)/float64(theirs.Silence))
		if ours.Broken != nil {
			t.Errorf("%s broke: %v", s.Name, ours.Broken)
		}
		if s.Every == pingEvery && ours.Silence > theirs.Silence*5/4+slow.Bound(onTop) {
			t.Errorf("%s: silent for %s, a static flow in the same run for %s", s.Name, ours.Silence, theirs.Silence)
		}
	}
}

// onTop is how much longer than a static flow's an outage may last, besides a quarter
// for what the machine does otherwise: the agent has to hear of the switch, and to dump
// and load all flows.
const onTop = 150 * time.Millisecond

// TestOVSDBRestarts: ovsdb-server gone for a while, and back. The kernel's datapath
// loses nothing. Userspace Open vSwitch polls its devices in the thread that has to
// hold OVSDB's lock, and forwards nothing without: a static flow shows as much.
func TestOVSDBRestarts(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual})
	serveAll(t, l)
	beside := addStatic(t, l)
	w := begin(t, l, beside)
	time.Sleep(settle)
	if err := l.Kill(testContext(t), "n1", lab.OVSDB); err != nil {
		t.Fatal(err)
	}
	time.Sleep(settle)
	if err := l.Start(testContext(t), "n1", lab.OVSDB); err != nil {
		t.Fatal(err)
	}
	ready(t, l, "n1")
	time.Sleep(3 * settle)
	if beside.datapath == "system" {
		w.end(t)
		return
	}
	w.endBeside(t)
}

// TestVswitchdRestartsInUserspace: the outage is Open vSwitch's own. (On the kernel's
// datapath nothing is lost: test/kernel.)
func TestVswitchdRestartsInUserspace(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual, Datapath: lab.NetdevDatapath})
	serveAll(t, l)
	beside := addStatic(t, l)
	for _, c := range []struct {
		name string
		end  func() error
	}{
		{"killed", func() error { return l.Kill(testContext(t), "n1", lab.Vswitchd) }},
		{"told to exit", func() error {
			_, err := l.Exec(testContext(t), "node/n1", "ovs-appctl", "exit")
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := begin(t, l, beside)
			time.Sleep(settle)
			if err := c.end(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "ovs-vswitchd has ended", func() error {
				if node(t, l, "n1").PIDs.Vswitchd != 0 {
					return errNotYet
				}
				return nil
			})
			if err := l.Start(testContext(t), "n1", lab.Vswitchd); err != nil {
				t.Fatal(err)
			}
			beside.reload(t)
			ready(t, l, "n1")
			time.Sleep(3 * settle)
			w.endBeside(t)
		})
	}
}
