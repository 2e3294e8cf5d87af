package scenarios

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// changing is a Service and its backends, at port 8080.
func changing(name, virtual string, backends ...string) string {
	var endpoints []string
	for _, b := range backends {
		endpoints = append(endpoints, fmt.Sprintf("{addresses: [%s], conditions: {ready: true}}", b))
	}
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {clusterIPs: [%[2]s], ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [%[3]s]
`, name, virtual, strings.Join(endpoints, ", "))
}

// purges are how often ovs-vswitchd of n1 was told to forget its cached flows, since it was told to log that.
func purges(t *testing.T, l *lab.Lab) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(node(t, l, "n1").OVSRunDir, "ovs-vswitchd.log"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(log), "received request revalidator/purge")
}

// giver dials a Service again and again, and knows when each connection was begun that a backend was given.
type giver struct {
	sync.Mutex
	given map[string]time.Time // last, by backend
	err   error
}

func (g *giver) dial(t *testing.T, from string, to netip.AddrPort, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond): // so few that the client has no port twice
		}
		began, backend := time.Now(), ""
		err := netns.Do(from, func() (err error) {
			backend, err = lab.Try(t.Context(), "tcp", to)
			return err
		})
		g.Lock()
		g.given[backend], g.err = began, errors.Join(g.err, err)
		g.Unlock()
	}
}

func (g *giver) last(backend string) time.Time {
	g.Lock()
	defer g.Unlock()
	return g.given[backend]
}

// TestABackendThatHasGoneIsGivenToNobody: beside thousands of cached flows, too, which ovs-vswitchd would look
// through one after another. For one that comes they are not forgotten.
func TestABackendThatHasGoneIsGivenToNobody(t *testing.T) {
	var text strings.Builder
	for _, name := range []string{"client", "scanner", "one", "two"} {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 8080}]}]}\n", name)
	}
	objects, err := lab.ParseObjects("objects.yaml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 1, Objects: objects})
	apply := func(text string) {
		t.Helper()
		if err := l.ApplyYAML(testContext(t), text); err != nil {
			t.Fatal(err)
		}
	}
	// Of many backends the switch chooses by a hash: each connection has a cached flow. Nobody has their addresses.
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("10.244.1.%d", 100+i))
	}
	one, two := pod(t, l, "default/one").Addresses[0].String(), pod(t, l, "default/two").Addresses[0].String()
	moving := netip.MustParseAddrPort("10.96.0.2:80")
	apply(changing("many", "10.96.0.1", many...) + changing("moving", moving.Addr().String(), one))
	on(t, l, "node/n1", "ovs-appctl", "vlog/set", "unixctl:file:dbg")
	apply(changing("moving", moving.Addr().String(), one, two))
	g := giver{given: map[string]time.Time{}}
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() { g.dial(t, pod(t, l, "default/client").Netns, moving, stop) })
	eventually(t, "both are given", func() error {
		if g.last("default/one").IsZero() || g.last("default/two").IsZero() {
			return errors.New("not yet")
		}
		return nil
	})
	try(t.Context(), t, pod(t, l, "default/scanner"), 8000, func(int) netip.AddrPort { return netip.MustParseAddrPort("10.96.0.1:80") })
	if n := purges(t, l); n > 0 {
		t.Errorf("cached flows were forgotten %d times for a backend that has come", n)
	}
	cachedFlows, began := len(cached(t, l, "n1")), time.Now()
	apply(changing("moving", moving.Addr().String(), one))
	applied, late := time.Now(), slow.Bound(time.Second)
	eventually(t, "a connection that was begun later is answered", func() error {
		if !g.last("default/one").After(applied.Add(late)) {
			return errors.New("not yet")
		}
		return nil
	})
	close(stop)
	wait.Wait()
	if g.err != nil {
		t.Error(g.err)
	}
	given := g.last("default/two").Sub(began)
	traffic.Measured(t, "beside %d cached flows: in force after %d ms, given last after %d ms", cachedFlows, applied.Sub(began).Milliseconds(), given.Milliseconds())
	if g.last("default/two").After(applied.Add(late)) {
		t.Errorf("what has gone is given %s later", given)
	}
	// A slow machine has forgotten most by itself; and few are none of the agent's business in the kernel.
	if cachedFlows > 1000 && purges(t, l) == 0 {
		t.Error("cached flows were not forgotten for a backend that has gone")
	}
}
