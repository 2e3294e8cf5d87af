package scenarios

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// ways are all that is to go on while a node is disturbed.
type ways struct {
	streams []*traffic.Stream
	dials   []*traffic.Dials
	// control goes over a bridge with one static flow in the same ovs-vswitchd.
	control *traffic.Stream
}

// begin lets everything that can speak with or through n1 do so: pods on one node and
// on two, nodes with pods, pods with outside, by ICMP, UDP and TCP, and with new
// connections all the time; by both families in a lab that has both.
func begin(t *testing.T, l *lab.Lab, beside static) *ways {
	t.Helper()
	n1, n2 := node(t, l, "n1"), node(t, l, "n2")
	a1, b1, a2 := pod(t, l, "a1"), pod(t, l, "b1"), pod(t, l, "a2")
	outside := outsideOf(t, l)
	w := &ways{control: beside.ping(t), streams: []*traffic.Stream{
		traffic.Ping(t, "ping on one node", a1.Netns, b1.Addresses[0]),
		traffic.Ping(t, "ping across nodes", a1.Netns, a2.Addresses[0]),
		traffic.Ping(t, "ping from the node to its pod", n1.Netns, a1.Addresses[0]),
		traffic.Ping(t, "ping from another node to the pod", n2.Netns, a1.Addresses[0]),
		traffic.Ping(t, "ping from a pod to its node", b1.Netns, n1.Addresses[0]),
		traffic.Ping(t, "ping from a pod to outside", b1.Netns, outside.Addresses[0]),
	}}
	for _, s := range w.streams {
		s.Every = pingEvery
	}
	for _, network := range []string{"tcp4", "udp4"} {
		w.streams = append(w.streams,
			traffic.Connect(t, network+" on one node", network, a1.Netns, b1.Addresses[0]),
			traffic.Connect(t, network+" across nodes", network, a1.Netns, a2.Addresses[0]),
			traffic.Connect(t, network+" from the node to its pod", network, n1.Netns, b1.Addresses[0]),
			traffic.Connect(t, network+" to outside, masqueraded", network, a1.Netns, outside.Addresses[0]),
		)
	}
	w.dials = []*traffic.Dials{
		traffic.BeginDials("new connections on one node", a1.Netns, b1.Addresses[0]),
		traffic.BeginDials("new connections across nodes", a2.Netns, b1.Addresses[0]),
		traffic.BeginDials("new connections from the node", n1.Netns, b1.Addresses[0]),
		traffic.BeginDials("new connections to outside", b1.Netns, outside.Addresses[0]),
	}
	if len(a1.Addresses) > 1 {
		w.byIPv6(t, n1, a1, b1, a2, outside)
	}
	w.control.Begin()
	for _, s := range w.streams {
		s.Begin()
	}
	return w
}

// byIPv6 adds the same by IPv6, of which every address here is the second.
func (w *ways) byIPv6(t *testing.T, n1 lab.NodeListing, a1, b1, a2 lab.PodListing, outside lab.OutsideListing) {
	t.Helper()
	for _, s := range []*traffic.Stream{
		traffic.Ping(t, "IPv6 ping on one node", a1.Netns, b1.Addresses[1]),
		traffic.Ping(t, "IPv6 ping across nodes", a1.Netns, a2.Addresses[1]),
		traffic.Ping(t, "IPv6 ping from the node to its pod", n1.Netns, a1.Addresses[1]),
		traffic.Ping(t, "IPv6 ping from a pod to outside", b1.Netns, outside.Addresses[1]),
	} {
		s.Every = pingEvery
		w.streams = append(w.streams, s)
	}
	w.streams = append(w.streams,
		traffic.Connect(t, "udp6 on one node", "udp6", a1.Netns, b1.Addresses[1]),
		traffic.Connect(t, "tcp6 across nodes", "tcp6", a1.Netns, a2.Addresses[1]),
		traffic.Connect(t, "tcp6 to outside, masqueraded", "tcp6", a1.Netns, outside.Addresses[1]))
	w.dials = append(w.dials, traffic.BeginDials("new connections by IPv6", a2.Netns, b1.Addresses[1]))
}

// tooBusy is the share of time in which ovs-vswitchd itself may stand still before what is
// lost meanwhile tells nothing.
const tooBusy = 0.5

// end fails the test if anything was lost, refused or reset, but for what was sent while
// the static flow in the same ovs-vswitchd had no answers either: userspace Open vSwitch
// forwards in one thread, which a busy machine does not always let run.
func (w *ways) end(t *testing.T) {
	t.Helper()
	for _, s := range w.streams {
		s.Stop()
	}
	control := w.control.Finish()
	still, all := control.Still, control.Lasted
	traffic.Measured(t, "one static flow: %d of %d lost; without answers %d times, %d of %d ms", len(control.Lost), control.Sent,
		len(control.Gaps), still.Milliseconds(), all.Milliseconds())
	for _, d := range w.dials {
		if len(control.Gaps) > 0 {
			d.EndLate(t, slow.Bound(10*time.Second))
		} else {
			d.End(t)
		}
	}
	excused := 0
	for _, s := range w.streams {
		excused += s.End(t, control.Gaps...)
	}
	if excused > 0 && float64(still) > tooBusy*float64(all) {
		t.Errorf("%d messages were lost while ovs-vswitchd stood still, %s of %s: the machine is too busy to tell anything", excused, still, all)
	}
}

// serveAll lets everybody answer.
func serveAll(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, name := range []string{"a1", "b1", "a2"} {
		traffic.ServeEcho(t, pod(t, l, name).Netns)
	}
	traffic.ServeEcho(t, outsideOf(t, l).Netns)
}

// settle is how long traffic goes on before and after a disturbance.
var settle = slow.Bound(700 * time.Millisecond)

// ready waits until a node's agent has everything in force.
func ready(t *testing.T, l *lab.Lab, name string) {
	t.Helper()
	n := node(t, l, name)
	eventually(t, name+" is ready", func() error {
		s, err := apiStatus(n)
		if err == nil && (!s.Ready || s.Input.Installed == "" || s.Input.Installed != s.Input.Seen) {
			err = fmt.Errorf("ready %v, input %+v, problems %v", s.Ready, s.Input, s.Problems)
		}
		return err
	})
}
