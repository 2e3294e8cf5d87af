package openflow_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

func watch(t testing.TB, c *openflow.Conn) <-chan openflow.FlowEvent {
	t.Helper()
	ch, err := c.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func TestForeignChangesAreToldInFullAndOwnOnesInShort(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	apply(t, c, openflow.Change{Add: routes(3)})
	ch := watch(t, c)

	foreign := drop(5, 6, flows.Match{}.IPv4().Is(flows.Reg1, flows.Uint(7)))
	foreign.Cookie, foreign.Actions = 0xf0, []flows.Action{flows.Set(flows.Reg2, flows.Uint(1)), flows.Goto{Table: 9}}
	ovs.Ofctl("add-flow", "br0", foreign.String())
	if e := next(t, ch); e.Kind != openflow.FlowAdded || !e.Flow.Equal(foreign) || e.Strange != "" {
		t.Errorf("%+v", e)
	}
	foreign.Actions = []flows.Action{flows.OutputTo{Port: 3}}
	ovs.Ofctl("add-flow", "br0", foreign.String())
	if e := next(t, ch); e.Kind != openflow.FlowAdded || !e.Flow.Equal(foreign) {
		t.Errorf("%+v", e)
	}
	foreign.Actions = nil
	ovs.Ofctl("--strict", "mod-flows", "br0", foreign.String())
	if e := next(t, ch); e.Kind != openflow.FlowModified || !e.Flow.Equal(foreign) {
		t.Errorf("%+v", e)
	}
	ovs.Ofctl("del-flows", "br0", "table=5")
	if e := next(t, ch); e.Kind != openflow.FlowRemoved || e.Flow.Key() != foreign.Key() || e.Reason != openflow.RemovedByDelete {
		t.Errorf("%+v", e)
	}
	ovs.Ofctl("add-flow", "br0", "table=5,hard_timeout=1,dl_type=0x894f,nsh_ttl=3,actions=NORMAL")
	if e := next(t, ch); e.Kind != openflow.FlowAdded || e.Strange == "" || e.Flow.Table != 5 {
		t.Errorf("%+v", e)
	}
	if e := next(t, ch); e.Kind != openflow.FlowRemoved || e.Reason != openflow.RemovedHard {
		t.Errorf("%+v", e)
	}

	apply(t, c, openflow.Change{Add: routes(5), Remove: remove(routes(1)...)})
	for {
		e := next(t, ch)
		if e.Kind != openflow.FlowsOwn || e.XID == 0 {
			t.Errorf("%+v", e)
		}
		if len(ch) == 0 {
			break
		}
	}
}

// TestFlowsThatGoWithTheirGroupOrMeter are told in full, even if it was us who
// removed that.
func TestFlowsThatGoWithTheirGroupOrMeter(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	f := drop(3, 3, nil)
	f.Actions = []flows.Action{flows.ToGroup{Group: 1}}
	apply(t, c, openflow.Change{
		PutMeters: []flows.Meter{{ID: 5, Bands: dropAt(9, 0)}},
		PutGroups: []flows.Group{{ID: 1, Buckets: []flows.Bucket{bucket(1, 1, flows.OutputTo{Port: 1})}}}, Add: []flows.Flow{f},
	})
	ovs.Ofctl("add-flow", "br0", "table=4,priority=4,actions=meter:5,output:1")
	ch := watch(t, c)
	apply(t, c, openflow.Change{RemoveGroups: []uint32{1}})
	if e := next(t, ch); e.Kind != openflow.FlowRemoved || e.Reason != openflow.RemovedByGroup || e.Flow.Table != 3 {
		t.Errorf("%+v", e)
	}
	apply(t, c, openflow.Change{RemoveMeters: []uint32{5}})
	if e := next(t, ch); e.Kind != openflow.FlowRemoved || e.Reason != openflow.RemovedByMeter || e.Flow.Table != 4 {
		t.Errorf("%+v", e)
	}
}

// TestSlowWatcherIsToldToResync lets more happen than may wait.
func TestSlowWatcherIsToldToResync(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c, other := dial(t, socket), dial(t, socket)
	ch := watch(t, c)
	apply(t, other, openflow.Change{Add: routes(5000)})
	sync := func() {
		t.Helper()
		if err := c.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sync()
	var last openflow.FlowEvent
	for n := len(ch); n > 0; n-- {
		last = next(t, ch)
	}
	if last.Kind != openflow.FlowsResync {
		t.Errorf("the last is %s", last.Kind)
	}
	apply(t, other, openflow.Change{Remove: remove(routes(1)...)})
	sync()
	if e := next(t, ch); e.Kind != openflow.FlowRemoved {
		t.Errorf("afterwards %s", e.Kind)
	}
}

// TestSwitchThatHoldsEventsBackMeansResync keeps us from reading, as a stopped process
// would be, until the switch pauses the monitor.
func TestSwitchThatHoldsEventsBackMeansResync(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	g := newGate(t, socket)
	c, other := dial(t, g.socket), dial(t, socket)
	apply(t, c, openflow.Change{Add: routes(10)})
	ch := watch(t, c)
	g.shut()
	for range 8 {
		apply(t, other, openflow.Change{Add: routes(2000)})
		apply(t, other, openflow.Change{Remove: remove(routes(2000)...)})
	}
	g.open()
	for {
		if e := next(t, ch); e.Kind == openflow.FlowsResync {
			break
		}
	}
	ovs.Ofctl("add-flow", "br0", "table=7,actions=drop")
	for seen := false; !seen; {
		switch e := next(t, ch); e.Kind {
		case openflow.FlowAdded:
			seen = e.Flow.Table == 7
		case openflow.FlowsResync: // it may be the monitor's resumption, after the flow
			for _, e := range dump(t, c) {
				seen = seen || e.Flow.Table == 7
			}
		}
	}
	if text := ovs.Appctl("coverage/read-counter", "ofmonitor_resume"); text == "0" {
		t.Error("the switch never paused the monitor; the test shows nothing")
	}
}

// gate stands between a connection and its switch, and can keep the switch's half.
type gate struct {
	socket string
	mu     sync.Mutex // held while shut
}

func newGate(t testing.TB, socket string) *gate {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{socket: filepath.Join(dir, "gate")}
	l, err := net.Listen("unix", g.socket)
	if err != nil {
		t.Fatal(err)
	}
	var ends sync.WaitGroup
	ends.Go(func() {
		near, err := l.Accept()
		if err != nil {
			return
		}
		defer near.Close()
		far, err := net.Dial("unix", socket)
		if err != nil {
			t.Error(err)
			return
		}
		defer far.Close()
		ends.Go(func() { io.Copy(far, near); far.Close() })
		b := make([]byte, 4096)
		for {
			g.mu.Lock()
			g.mu.Unlock() //nolint:staticcheck // to be open is all
			n, err := far.Read(b)
			if err != nil {
				return
			}
			if _, err := near.Write(b[:n]); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		ends.Wait()
		os.RemoveAll(dir)
	})
	return g
}

func (g *gate) shut() { g.mu.Lock() }
func (g *gate) open() { g.mu.Unlock() }
