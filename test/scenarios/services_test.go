package scenarios

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/test/lab"
)

// servicePods are a pod and one on the host's network for each of two nodes.
func servicePods() string {
	var b strings.Builder
	for _, node := range []string{"1", "2"} {
		for _, kind := range []struct{ name, spec string }{{"pod", ""}, {"host", "hostNetwork: true, "}} {
			fmt.Fprintf(&b, `
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s%[2]s, labels: {app: %[1]s%[2]s}}
spec: {%[3]snodeName: n%[2]s, containers: [{name: server, image: example.com/server, ports: [{containerPort: 8080, protocol: TCP}, {containerPort: 8080, protocol: UDP}]}]}
`, kind.name, node, kind.spec)
		}
	}
	return b.String()
}

// serviceOf is a Service with one backend, and its EndpointSlice for each address.
func serviceOf(i int, p lab.PodListing) string {
	var ips, slices strings.Builder
	for _, a := range p.Addresses {
		family, virtual := "IPv4", fmt.Sprintf("10.96.0.%d", i)
		if a.Is6() {
			family, virtual = "IPv6", fmt.Sprintf("fd96::%x", i)
		}
		fmt.Fprintf(&ips, "%q,", virtual)
		fmt.Fprintf(&slices, `
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-%[2]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: %[3]s
ports: [{name: t, protocol: TCP, port: 8080}, {name: u, protocol: UDP, port: 8080}]
endpoints: [{addresses: [%[4]q], nodeName: %[5]s, conditions: {ready: true}}]
`, p.Name, strings.ToLower(family), family, a, p.Node)
	}
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {clusterIPs: [%s], ports: [{name: t, protocol: TCP, port: 80}, {name: u, protocol: UDP, port: 80}]}
`, p.Name, strings.TrimSuffix(ips.String(), ",")) + slices.String()
}

// TestServicesAcrossNodes: pods, pods on the host's network and nodes of two nodes reach the backend of each
// Service, wherever it is.
func TestServicesAcrossNodes(t *testing.T) {
	objects, err := lab.ParseObjects("pods.yaml", []byte(servicePods()))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 2, Families: lab.Dual, Objects: objects})
	var text strings.Builder
	var to []lab.Endpoint
	names := []string{"pod1", "pod2", "host1", "host2"}
	for i, name := range names {
		text.WriteString(serviceOf(i+1, pod(t, l, "default/"+name)))
		to = append(to, lab.Endpoint{Kind: lab.ServiceEndpoint, Namespace: "default", Name: name})
	}
	if err := l.ApplyYAML(testContext(t), text.String()); err != nil {
		t.Fatal(err)
	}
	results, err := l.Probe(testContext(t), lab.ProbeRequest{To: to})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) < 60 { // the nodes have no IPv6 addresses of their own
		t.Errorf("only %d cells were tried", len(results))
	}
	for _, r := range results {
		if !r.Reached || !strings.Contains(r.AnsweredBy, strings.TrimPrefix(r.To, "svc/default/")) {
			t.Errorf("%s to %s %s %s: answered by %q: %s", r.From, r.To, r.Address, r.Protocol, r.AnsweredBy, r.Error)
		}
	}
	why, status := ctl(t, l, "node/n1", "why", "default/pod1", "svc/default/pod2:80")
	for _, want := range []string{
		"service: 10.96.0.2:80/TCP of Service default/pod2 is given to", "looks the destination up in service: service default/pod2: is given to a backend",
		"reply packet by the tunnel from node n2: sends it in",
	} {
		if status != 0 || !strings.Contains(why, want) {
			t.Errorf("why says with status %d, without %q:\n%s", status, want, why)
			break
		}
	}
	if text, status := ctl(t, l, "node/n1", "why", "default/pod1", "svc/default/pod2:81"); status != 0 ||
		!strings.Contains(text, "looks the destination up in service: service default/pod2: refused: nobody serves") {
		t.Errorf("why says with status %d:\n%s", status, text)
	}
}
