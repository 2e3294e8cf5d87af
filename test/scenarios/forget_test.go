package scenarios

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/agent/forget"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// moved is how soon after the flows a socket must be served by a backend that is there.
const moved = time.Second

// dnsLab is a client and one server on n1, two servers on n2, and a way to say which of them are
// behind the Service dns, of UDP port 53.
type dnsLab struct {
	*lab.Lab
	t *testing.T
}

func newDNSLab(t *testing.T) *dnsLab {
	t.Helper()
	var text strings.Builder
	for name, where := range map[string]string{"client": "n1", "one": "n1", "two": "n2", "three": "n2"} {
		fmt.Fprintf(&text, `
---
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec: {nodeName: %s, containers: [{name: server, image: example.com/server, ports: [{containerPort: 5353, protocol: UDP}]}]}
`, name, where)
	}
	objects, err := lab.ParseObjects("pods.yaml", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return &dnsLab{Lab: up(t, lab.Options{Nodes: 2, Families: lab.Dual, Objects: objects}), t: t}
}

// serve makes these the Service's backends; "-one" is one that is terminating, and serves.
func (d *dnsLab) serve(backends ...string) {
	d.t.Helper()
	text := `
apiVersion: v1
kind: Service
metadata: {name: dns}
spec: {clusterIPs: [10.96.0.10, "fd96::a"], ports: [{port: 53, protocol: UDP}]}
`
	for _, family := range []string{"IPv4", "IPv6"} {
		text += fmt.Sprintf(`
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dns-%s, labels: {kubernetes.io/service-name: dns}}
addressType: %s
ports: [{protocol: UDP, port: 5353}]
endpoints:
`, strings.ToLower(family), family)
		for _, name := range backends {
			name, terminating := strings.CutPrefix(name, "-")
			for _, a := range pod(d.t, d.Lab, "default/"+name).Addresses {
				if a.Is6() == (family == "IPv6") {
					text += fmt.Sprintf("- {addresses: [%q], conditions: {ready: %t, terminating: %t}}\n", a, !terminating, terminating)
				}
			}
		}
	}
	if err := d.ApplyYAML(testContext(d.t), text); err != nil {
		d.t.Fatal(err)
	}
}

// socket is one that is kept, whatever becomes of what it asks.
type socket struct {
	net.Conn
	name string
}

// open opens sockets of both families in the client.
func (d *dnsLab) open(n int) []*socket {
	d.t.Helper()
	var out []*socket
	err := netns.Do(pod(d.t, d.Lab, "default/client").Netns, func() error {
		for i := range n {
			for _, to := range []string{"10.96.0.10:53", "[fd96::a]:53"} {
				conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
				if err != nil {
					return err
				}
				d.t.Cleanup(func() { conn.Close() })
				out = append(out, &socket{conn, fmt.Sprintf("socket %d to %s", i, to)})
			}
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// ask sends once, and says who answers.
func (s *socket) ask() (string, error) {
	buffer := make([]byte, 256)
	_ = s.SetDeadline(time.Now().Add(slow.Bound(100 * time.Millisecond)))
	for { // what comes late is the answer to an earlier question
		_ = s.SetReadDeadline(time.Now().Add(time.Microsecond))
		if _, err := s.Read(buffer); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	_ = s.SetDeadline(time.Now().Add(slow.Bound(100 * time.Millisecond)))
	if _, err := s.Write([]byte("who")); err != nil {
		return "", err
	}
	n, err := s.Read(buffer)
	if err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(buffer[:n])), " ")
	return name[strings.LastIndexByte(name, '/')+1:], nil
}

// servedBy waits until the socket is served by one of these, and returns by whom.
func (d *dnsLab) servedBy(s *socket, bound time.Duration, backends ...string) (by string) {
	d.t.Helper()
	within(d.t, bound, s.name, func() (err error) {
		if by, err = s.ask(); err == nil && !slices.Contains(backends, by) {
			err = fmt.Errorf("served by %s, not by one of %v", by, backends)
		}
		return err
	})
	return by
}

// counted waits until n1's sluicectl tells that at least so many connections were given to the backends of
// each virtual address.
func (d *dnsLab) counted(want map[string]int) {
	d.t.Helper()
	eventually(d.t, "connections are counted", func() error {
		var a struct {
			Services []struct {
				Ports []struct {
					Addresses []string
					Backends  []struct{ Connections int }
				}
			}
		}
		text, status := ctl(d.t, d.Lab, "node/n1", "services", "dns", "-o", "json")
		if err := json.Unmarshal([]byte(text), &a); err != nil || status != 0 || len(a.Services) != 1 {
			d.t.Fatalf("status %d, %v: %s", status, err, text)
		}
		for _, p := range a.Services[0].Ports {
			sum := 0
			for _, b := range p.Backends {
				sum += b.Connections
			}
			if sum < want[p.Addresses[0]] {
				return fmt.Errorf("%s: %d connections, not %d", p.Addresses[0], sum, want[p.Addresses[0]])
			}
		}
		return nil
	})
}

// within has a part of the test told what goes wrong, until the returned function is called.
func (d *dnsLab) within(t *testing.T) (end func()) {
	whole := d.t
	d.t = t
	return func() { d.t = whole }
}

// noted is what n1's agent has noted that it is to forget.
func (d *dnsLab) noted() string {
	d.t.Helper()
	out := on(d.t, d.Lab, "node/n1", "ovs-vsctl", "--if-exists", "get", "bridge", "br-sluice", "external_ids:"+forget.Key)
	return strings.Trim(strings.TrimSpace(out), `"`)
}

func (d *dnsLab) nothingNoted() {
	d.t.Helper()
	eventually(d.t, "all is forgotten", func() error {
		if text := d.noted(); text != "" {
			return fmt.Errorf("to be forgotten yet: %s", text)
		}
		return nil
	})
}

// TestSocketsThatStayAreServed: a UDP client that never opens another socket is served within a second
// when the first backend comes, when its backend goes, and by its backend whatever becomes of others.
func TestSocketsThatStayAreServed(t *testing.T) {
	d := newDNSLab(t)
	d.serve()
	early := d.open(1)
	for _, s := range early {
		eventually(t, s.name+" is refused", func() error {
			if by, err := s.ask(); err == nil || !strings.Contains(err.Error(), "refused") {
				return fmt.Errorf("served by %q, %w", by, err)
			}
			return nil
		})
	}
	d.serve("two")
	for _, s := range early {
		d.servedBy(s, moved, "two")
	}

	all := []string{"one", "two", "three"}
	d.serve(all...)
	sockets, by := d.open(12), map[*socket]string{}
	for _, s := range early {
		by[s] = d.servedBy(s, bound, "two") // it stays
	}
	for _, s := range sockets {
		by[s] = d.servedBy(s, bound, all...)
	}
	d.counted(map[string]int{"10.96.0.10:53": 12, "[fd96::a]:53": 12})
	d.serve("one", "-two", "three")
	for s, backend := range by {
		d.servedBy(s, bound, backend) // it drains: nobody moves
	}
	d.serve("one", "three")
	for s, backend := range by {
		if backend == "two" {
			by[s] = d.servedBy(s, moved, "one", "three")
		} else {
			d.servedBy(s, bound, backend)
		}
	}
	d.serve("three")
	for s := range by {
		d.servedBy(s, moved, "three")
	}
	d.nothingNoted()
}

// TestWhatIsToBeForgottenOutlivesTheAgent: killed before it could have anything forgotten, and with its
// backend gone while no agent runs.
func TestWhatIsToBeForgottenOutlivesTheAgent(t *testing.T) {
	d := newDNSLab(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	d.serve("one")
	sockets := d.open(2)
	for _, s := range sockets {
		d.servedBy(s, bound, "one")
	}

	t.Run("killed between the flows and the forgetting", func(t *testing.T) {
		defer d.within(t)()
		n := node(t, d.Lab, "n1")
		if statusOf(t, n).Bridge.Datapath == "system" {
			d.serve("two") // what the kernel forgets cannot be held up
			return
		}
		unhide := hideVswitchd(t, n.OVSRunDir)
		d.serve("two")
		if d.noted() == "" {
			t.Error("nothing is noted")
		}
		must(d.Kill(testContext(t), "n1", lab.Agent))
		unhide()
		for _, s := range sockets {
			if by, err := s.ask(); err == nil && by != "one" {
				t.Errorf("%s was moved to %s by nobody", s.name, by)
			}
		}
		must(d.Start(testContext(t), "n1", lab.Agent))
		ready(t, d.Lab, "n1")
		for _, s := range sockets {
			d.servedBy(s, moved, "two")
		}
		d.nothingNoted()
	})
	if t.Failed() {
		return
	}
	d.serve("two")
	for _, s := range sockets {
		d.servedBy(s, moved, "two")
	}

	t.Run("gone while no agent runs", func(t *testing.T) {
		defer d.within(t)()
		must(d.Kill(testContext(t), "n1", lab.Agent))
		d.serve("three")
		must(d.Start(testContext(t), "n1", lab.Agent))
		ready(t, d.Lab, "n1")
		for _, s := range sockets {
			d.servedBy(s, moved, "three")
		}
		d.nothingNoted()
	})
}

// hideVswitchd takes the daemon's command sockets away, so that it cannot be asked for anything, until
// the returned function is called.
func hideVswitchd(t *testing.T, runDir string) (unhide func()) {
	t.Helper()
	sockets, err := filepath.Glob(filepath.Join(runDir, "ovs-vswitchd*.ctl"))
	if err != nil || len(sockets) == 0 {
		t.Fatalf("sockets of ovs-vswitchd: %v, %v", sockets, err)
	}
	const hidden = ".hidden"
	for _, s := range sockets {
		if err := os.Rename(s, s+hidden); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for _, s := range sockets {
			if err := os.Rename(s+hidden, s); err != nil {
				t.Fatal(err)
			}
		}
	}
}
