package scenarios

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/traffic"
)

// sinkPort is where sinks listen.
const sinkPort = 9100

// sink counts the datagrams that come to a namespace until the test ends; the namespace may be
// without any link yet.
func sink(t *testing.T, namespace string) *atomic.Int64 {
	t.Helper()
	var came atomic.Int64
	for _, network := range []string{"udp4", "udp6"} {
		countInto(t, &came, network, namespace)
	}
	return &came
}

func countInto(t *testing.T, came *atomic.Int64, network, namespace string) {
	t.Helper()
	var socket net.PacketConn
	if err := netns.Do(namespace, func() (err error) {
		socket, err = net.ListenPacket(network, fmt.Sprintf(":%d", sinkPort))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		buffer := make([]byte, 64)
		for {
			_, _, err := socket.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				came.Add(1)
			}
		}
	})
	t.Cleanup(func() {
		socket.Close()
		wait.Wait()
	})
}

// hammer sends a datagram to a sink every millisecond until the test ends, also while there is
// no way to it. It counts those that the namespace's kernel took.
func hammer(t *testing.T, namespace string, to netip.Addr) *atomic.Int64 {
	t.Helper()
	var socket net.PacketConn
	if err := netns.Do(namespace, func() (err error) {
		socket, err = net.ListenPacket("udp"+familyOf(to), ":0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	var wait sync.WaitGroup
	target := net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, sinkPort))
	wait.Go(func() {
		for {
			_, err := socket.WriteTo([]byte("x"), target)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				sent.Add(1)
			}
			time.Sleep(time.Millisecond)
		}
	})
	t.Cleanup(func() {
		socket.Close()
		wait.Wait()
	})
	return &sent
}

// more waits until a counter has grown by n.
func more(t *testing.T, what string, c *atomic.Int64, n int64) {
	t.Helper()
	from := c.Load()
	eventually(t, what, func() error {
		if got := c.Load() - from; got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}

func object(kind, name, spec string) string {
	version := "v1"
	if kind == "NetworkPolicy" {
		version = "networking.k8s.io/v1"
	}
	metadata := "{name: " + name + ", namespace: shop"
	if kind == "Pod" {
		metadata += ", labels: {app: " + name + "}"
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: %s}\nspec: %s\n", version, kind, metadata, spec)
}

// familyOf is 4 or 6, as networks end.
func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "4"
	}
	return "6"
}

// inBothFamilies runs a test in labs of IPv4 and of IPv6. address makes that of a pod on n1 from its last number.
func inBothFamilies(t *testing.T, run func(t *testing.T, families lab.Families, address func(last int) netip.Addr)) {
	t.Helper()
	for families, format := range map[lab.Families]string{lab.IPv4: "10.244.1.%d", lab.IPv6: "fd00:10:244:1::%d"} {
		t.Run(string(families), func(t *testing.T) {
			run(t, families, func(last int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf(format, last)) })
		})
	}
}

func podObject(name string) string { return object("Pod", name, "{nodeName: n1}") }

func documents(list ...string) string { return strings.Join(list, "---\n") }

// sandboxOf is a pod's, on n1; add is the call that plugs it in at an address.
func sandboxOf(t *testing.T, pod, address string) (namespace string, add call) {
	t.Helper()
	ns := ovstest.NewNamespace(t).Path
	return ns, call{container: pod, netns: ns, args: "IP=" + address + ";K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" + pod}
}

// TestAPolicyIsInForceFromAPodsFirstPacket: others send to the pod's address, and the pod sends,
// from before its ADD. Nothing comes through, either way, until the policy goes.
func TestAPolicyIsInForceFromAPodsFirstPacket(t *testing.T) {
	inBothFamilies(t, inForceFromTheFirstPacket)
}

func inForceFromTheFirstPacket(t *testing.T, families lab.Families, at func(int) netip.Addr) {
	l := up(t, lab.Options{Nodes: 2, Families: families})
	n1, here, there := node(t, l, "n1"), pod(t, l, "a1"), pod(t, l, "b1")
	address := at(50)
	closed := object("NetworkPolicy", "closed", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress]}")
	fromNear, fromFar := hammer(t, here.Netns, address), hammer(t, there.Netns, address)
	atNear, atFar := sink(t, here.Netns), sink(t, there.Netns)
	for i := range 4 {
		known(t, n1, documents(podObject("db"), closed))
		namespace, add := sandboxOf(t, "db", address.String())
		into := sink(t, namespace)
		out := hammer(t, namespace, here.Addresses[0])
		hammer(t, namespace, there.Addresses[0])
		near, far := atNear.Load(), atFar.Load()
		added(t, n1, add)
		for _, c := range []*atomic.Int64{fromNear, fromFar, out} {
			more(t, "they send", c, 200)
		}
		if got := into.Load(); got > 0 {
			t.Errorf("start %d: %d datagrams came to the pod", i, got)
		}
		if near, far := atNear.Load()-near, atFar.Load()-far; near+far > 0 {
			t.Errorf("start %d: %d datagrams came from the pod to its own node, %d to the other", i, near, far)
		}
		known(t, n1, podObject("db"))
		for _, c := range []*atomic.Int64{into, atNear, atFar} {
			more(t, "they come through without the policy", c, 10)
		}
		deleted(t, n1, add)
	}
}

// judgedPair is a pod db that only api may send to, while web tries.
type judgedPair struct {
	lab     *lab.Lab
	n1      lab.NodeListing
	denied  *atomic.Int64
	tries   *atomic.Int64
	allowed *traffic.Stream
}

// These are the three pods and what db allows.
var threePods = documents(podObject("db"), podObject("web"), podObject("api"))

var onlyFromAPI = object("NetworkPolicy", "db", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]}")

func newJudgedPair(t *testing.T, l *lab.Lab, at func(int) netip.Addr) judgedPair {
	t.Helper()
	p := judgedPair{lab: l, n1: node(t, l, "n1")}
	known(t, p.n1, documents(threePods, onlyFromAPI))
	sandboxes := map[string]string{}
	for name, last := range map[string]int{"db": 50, "web": 51, "api": 52} {
		namespace, add := sandboxOf(t, name, at(last).String())
		added(t, p.n1, add)
		t.Cleanup(func() { deleted(t, p.n1, add) })
		sandboxes[name] = namespace
	}
	db := at(50)
	p.denied = sink(t, sandboxes["db"])
	p.tries = hammer(t, sandboxes["web"], db)
	traffic.ServeEcho(t, sandboxes["db"])
	p.allowed = traffic.Connect(t, "of the allowed peer", "tcp"+familyOf(db), sandboxes["api"], db)
	p.allowed.Begin()
	return p
}

// onJudgedPairs runs a test of such pods in labs of both families.
func onJudgedPairs(t *testing.T, run func(t *testing.T, p judgedPair)) {
	t.Helper()
	inBothFamilies(t, func(t *testing.T, families lab.Families, at func(int) netip.Addr) {
		p := newJudgedPair(t, up(t, lab.Options{Nodes: 1, Families: families, Objects: []lab.Object{}}), at)
		p.holds(t, "before")
		run(t, p)
	})
}

func (p judgedPair) killAgent(t *testing.T) {
	t.Helper()
	if err := p.lab.Kill(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
}

// open makes the objects those without the policy: what was allowed has lost nothing until then, and what was
// denied comes through.
func (p judgedPair) open(t *testing.T, objects string) {
	t.Helper()
	p.allowed.End(t)
	known(t, p.n1, objects)
	more(t, "it comes through without the policy", p.denied, 10)
}

// holds fails the test if something came through that is denied. It lets some be tried first.
func (p judgedPair) holds(t *testing.T, when string) {
	t.Helper()
	more(t, "the denied pod tries", p.tries, 300)
	if got := p.denied.Load(); got > 0 {
		t.Errorf("%s: %d datagrams came through that are denied", when, got)
	}
}

// TestAPolicyStaysInForceWithoutItsAgent, and when the agent is back; what is allowed goes on.
func TestAPolicyStaysInForceWithoutItsAgent(t *testing.T) {
	onJudgedPairs(t, staysInForceWithoutItsAgent)
}

func staysInForceWithoutItsAgent(t *testing.T, p judgedPair) {
	for range 2 {
		p.killAgent(t)
		p.holds(t, "while the agent is away")
		restarted(t, p.lab, p.n1, lab.Agent)
		p.holds(t, "when the agent is back")
	}
	p.open(t, threePods)

	p.killAgent(t)
	written(t, p.n1, documents(threePods, onlyFromAPI))
	restarted(t, p.lab, p.n1, lab.Agent)
	silent(t, "a policy that came while the agent was away is in force", p.denied.Load)
}

// TestAPodIsIsolatedUntilItsDEL: the objects of a pod and its peers go while their sandboxes
// live. It is as isolated as before, and what was allowed goes on; so it is for an agent that starts
// in that time.
func TestAPodIsIsolatedUntilItsDEL(t *testing.T) {
	onJudgedPairs(t, isolatedUntilItsDEL)
}

func isolatedUntilItsDEL(t *testing.T, p judgedPair) {
	without := documents(podObject("web"), onlyFromAPI)
	known(t, p.n1, without)
	p.holds(t, "without their objects")
	for i := range 2 {
		p.killAgent(t)
		restarted(t, p.lab, p.n1, lab.Agent)
		p.holds(t, fmt.Sprintf("after %d starts of the agent", i+1))
	}
	known(t, p.n1, documents(threePods, onlyFromAPI))
	p.holds(t, "when there are objects of their names again")
	p.killAgent(t)
	written(t, p.n1, without)
	restarted(t, p.lab, p.n1, lab.Agent)
	p.holds(t, "when their objects went while the agent was away")
	p.open(t, podObject("web"))
}

// TestAPolicyStaysInForceWithoutItsSource: what the policies come from cannot be read, or is empty all at once, for an
// agent that runs and for one that starts.
func TestAPolicyStaysInForceWithoutItsSource(t *testing.T) {
	onJudgedPairs(t, staysInForceWithoutItsSource)
}

func staysInForceWithoutItsSource(t *testing.T, p judgedPair) {
	within(t, bound, "the policy is in what the agent remembers", func() error {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(p.n1.AgentSocket), "last-input.json"))
		if err == nil && !strings.Contains(string(text), `"NetworkPolicies":[{`) {
			err = errors.New("it has no policy")
		}
		return err
	})
	for _, empty := range []bool{false, true} {
		back := takeAway(t, p.n1, empty)
		unreadable(t, p.n1, true)
		p.holds(t, "without its source")
		p.killAgent(t)
		restarted(t, p.lab, p.n1, lab.Agent)
		p.holds(t, "for an agent that starts without its source")
		back()
		unreadable(t, p.n1, false)
		p.holds(t, "when the source is back")
	}
	p.open(t, threePods)
}

// TestANewlyMentionedLabelOpensNothing: policies come and go that mention keys which none has mentioned before, so that
// all identities are others; what is denied stays so, and what is allowed loses nothing.
func TestANewlyMentionedLabelOpensNothing(t *testing.T) {
	onJudgedPairs(t, newlyMentionedLabelOpensNothing)
}

func newlyMentionedLabelOpensNothing(t *testing.T, p judgedPair) {
	for i := range 20 {
		mentions := fmt.Sprintf("{podSelector: {matchLabels: {app: api}}, ingress: [{from: [{podSelector: {matchExpressions: [{key: key-%d, operator: DoesNotExist}, {key: app, operator: NotIn, values: [web]}]}}]}]}", i)
		known(t, p.n1, documents(threePods, onlyFromAPI, object("NetworkPolicy", "mentions", mentions)))
		if i%2 == 0 {
			known(t, p.n1, documents(threePods, onlyFromAPI))
		}
	}
	p.holds(t, "when keys were mentioned for the first time")
	p.open(t, threePods)
}
