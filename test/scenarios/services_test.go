package scenarios

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/golden"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// servicePods are two pods and one on the host's network for each of two nodes.
func servicePods() string {
	var b strings.Builder
	for _, node := range []string{"1", "2"} {
		for _, kind := range []struct{ name, spec string }{{"pod", ""}, {"other", ""}, {"host", "hostNetwork: true, "}} {
			fmt.Fprintf(&b, `
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s%[2]s, labels: {app: %[1]s%[2]s}}
spec: {%[3]snodeName: n%[2]s, containers: [{name: server, image: example.com/server, ports: [{containerPort: 8080, protocol: TCP}, {containerPort: 8080, protocol: UDP}, {containerPort: 8080, protocol: SCTP}]}]}
`, kind.name, node, kind.spec)
		}
	}
	return b.String()
}

// backendPlace is where the one backend of some Services is: the table of what reaches what has a
// column for each of them and each policy.
type backendPlace struct {
	name, node string // node is empty for what is outside of the cluster
	addresses  []netip.Addr
}

// serviceOf is a Service of a place with an internalTrafficPolicy, and its EndpointSlice for each address.
func serviceOf(i int, p backendPlace, policy string) string {
	name := p.name + "-" + strings.ToLower(policy)
	var ips, slices strings.Builder
	for _, a := range p.addresses {
		family, virtual := "IPv4", fmt.Sprintf("10.96.0.%d", i)
		if a.Is6() {
			family, virtual = "IPv6", fmt.Sprintf("fd96::%x", i)
		}
		on := ""
		if p.node != "" {
			on = "nodeName: " + p.node + ", "
		}
		fmt.Fprintf(&ips, "%q,", virtual)
		fmt.Fprintf(&slices, `
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-%[2]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: %[3]s
ports: [{name: t, protocol: TCP, port: 8080}, {name: u, protocol: UDP, port: 8080}, {name: s, protocol: SCTP, port: 8080}]
endpoints: [{addresses: [%[4]q], %[5]sconditions: {ready: true}}]
`, name, strings.ToLower(family), family, a, on)
	}
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {clusterIPs: [%s], internalTrafficPolicy: %s, ports: [{name: t, protocol: TCP, port: 80}, {name: u, protocol: UDP, port: 80}, {name: s, protocol: SCTP, port: 80}]}
`, name, strings.TrimSuffix(ips.String(), ","), policy) + slices.String()
}

var trafficPolicies = []string{"Cluster", "Local"}

// TestServicesAcrossNodes: pods, pods on the host's network and nodes of two nodes reach the backend of each
// Service, wherever it is, unless the Service's traffic is to stay on a node that it is not on: then they are
// refused. The docs have the table of it.
func TestServicesAcrossNodes(t *testing.T) {
	objects, err := lab.ParseObjects("pods.yaml", []byte(servicePods()))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual, Objects: objects})
	var places []backendPlace
	for _, name := range []string{"pod1", "pod2", "host1", "host2"} {
		p := pod(t, l, "default/"+name)
		places = append(places, backendPlace{name, p.Node, p.Addresses})
	}
	places = append(places, backendPlace{"outside", "", outsideOf(t, l).Addresses})
	var text strings.Builder
	var to []lab.Endpoint
	for i, p := range places {
		for k, policy := range trafficPolicies {
			text.WriteString(serviceOf(2*i+k+1, p, policy))
			to = append(to, lab.Endpoint{Kind: lab.ServiceEndpoint, Namespace: "default", Name: p.name + "-" + strings.ToLower(policy)})
		}
	}
	if err := l.ApplyYAML(testContext(t), text.String()); err != nil {
		t.Fatal(err)
	}
	cells := serviceCells{}
	nodes := []lab.Endpoint{{Kind: lab.NodeEndpoint, Name: "n1"}, {Kind: lab.NodeEndpoint, Name: "n2"}}
	requests := []lab.ProbeRequest{{To: to}, {From: nodes, To: to, Bound: true}}
	if lab.HasSCTP() {
		requests = append(requests, lab.ProbeRequest{To: to, Protocol: "sctp"}, lab.ProbeRequest{From: nodes, To: to, Bound: true, Protocol: "sctp"})
	} else {
		t.Log("SCTP is not asked by: this machine's kernel does not speak it")
	}
	for _, request := range requests {
		results, err := l.Probe(testContext(t), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			cells.add(t, r, request.Bound)
		}
	}
	if lab.HasSCTP() {
		cells.sctpAsTCP(t)
	}
	golden.Check(t, "../../docs/services.md", cells.page())
	why, status := ctl(t, l, "node/n1", "why", "default/pod1", "svc/default/pod2-cluster:80")
	for _, want := range []string{
		"service: 10.96.0.3:80/TCP of Service default/pod2-cluster is given to", "looks the destination up in service: service default/pod2-cluster: is given to a backend",
		"reply packet by the tunnel from node n2: sends it in",
	} {
		if status != 0 || !strings.Contains(why, want) {
			t.Errorf("why says with status %d, without %q:\n%s", status, want, why)
			break
		}
	}
	if text, status := ctl(t, l, "node/n1", "why", "default/pod1", "svc/default/pod2-cluster:81"); status != 0 ||
		!strings.Contains(text, "looks the destination up in service: service default/pod2-cluster: refused: nobody serves") {
		t.Errorf("why says with status %d:\n%s", status, text)
	}
}

// TestServicesOutliveAgents: agents are killed while pods and nodes of both nodes open connections to a Service, and
// hold one: none fails, is lost or moved to the other of two backends. Clients of one with session affinity keep their
// backends.
func TestServicesOutliveAgents(t *testing.T) {
	objects, err := lab.ParseObjects("pods.yaml", []byte(servicePods()))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 2, Objects: objects})
	var endpoints []string
	for _, name := range []string{"other1", "other2"} {
		p := pod(t, l, "default/"+name)
		traffic.ServeEcho(t, p.Netns)
		endpoints = append(endpoints, fmt.Sprintf("{addresses: [%s], nodeName: %s, conditions: {ready: true}}", p.Addresses[0], p.Node))
	}
	const service = `
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {clusterIPs: [%[2]s], sessionAffinity: %[3]s, ports: [{name: echo, port: %[4]d}, {name: name, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: echo, port: %[4]d}, {name: name, port: 8080}]
endpoints: [%[5]s]
`
	free, loyal := netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("10.96.0.2")
	text := fmt.Sprintf(service, "free", free, "None", traffic.EchoPort, strings.Join(endpoints, ", ")) +
		fmt.Sprintf(service, "loyal", loyal, "ClientIP", traffic.EchoPort, strings.Join(endpoints, ", "))
	if err := l.ApplyYAML(testContext(t), text); err != nil {
		t.Fatal(err)
	}
	from := map[string]string{}
	for _, name := range []string{"n1", "n2"} {
		from[name] = node(t, l, name).Netns
	}
	for _, name := range []string{"pod1", "pod2"} {
		from[name] = pod(t, l, "default/"+name).Netns
	}
	backends := func() map[string]string {
		out := map[string]string{}
		for name, place := range from {
			err := netns.Do(place, func() (err error) {
				out[name], err = lab.Try(testContext(t), "tcp", netip.AddrPortFrom(loyal, 80))
				return err
			})
			if err != nil {
				t.Fatalf("from %s: %v", name, err)
			}
		}
		return out
	}
	before := backends()
	var streams []*traffic.Stream
	var dials []*traffic.Dials
	for name, place := range from {
		streams = append(streams, traffic.Connect(t, "a connection of "+name+" to the Service", "tcp4", place, free))
		dials = append(dials, traffic.BeginDials("new connections of "+name+" to the Service", place, free))
	}
	for _, s := range streams {
		s.Begin()
	}
	for _, name := range []string{"n1", "n2"} {
		if err := l.Kill(testContext(t), name, lab.Agent); err != nil {
			t.Fatal(err)
		}
		restarted(t, l, node(t, l, name), lab.Agent)
		if now := backends(); !maps.Equal(now, before) {
			t.Errorf("with another agent on %s clients are given %v, before %v", name, now, before)
		}
	}
	for _, d := range dials {
		d.EndLate(t, slow.Bound(10*time.Second))
	}
	for _, s := range streams {
		s.Stop()
		s.End(t)
	}
}
