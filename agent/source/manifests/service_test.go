package manifests_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows/state"
)

const services = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, uid: u1, creationTimestamp: "1970-01-01T00:00:09Z", labels: {app: web}}
spec:
  clusterIPs: [10.96.0.10, "fd00:96::a"]
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: dns, port: 53, protocol: UDP, targetPort: 5353}
  internalTrafficPolicy: Local
  sessionAffinity: ClientIP
  publishNotReadyAddresses: true
  trafficDistribution: PreferSameZone
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec:
  clusterIP: 10.96.0.11
  ports: [{port: 80, protocol: SCTP}]
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 30}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless}, spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: elsewhere}, spec: {type: ExternalName, externalName: example.com, clusterIP: 10.96.0.12}}
---
{apiVersion: v1, kind: Service, metadata: {name: not-yet}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
apiVersion: v1
kind: Service
metadata: {name: other-proxy, labels: {service.kubernetes.io/service-proxy-name: another}}
spec: {clusterIP: 10.96.0.13, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSliceList
items:
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web, endpointslice.kubernetes.io/managed-by: me}}
  addressType: IPv4
  ports: [{name: http, port: 8080}, {name: dns, port: 5353, protocol: UDP}, {name: any}]
  endpoints:
  - addresses: [10.244.1.2, 10.244.1.3]
  - addresses: [10.244.2.2]
    conditions: {ready: false, serving: true, terminating: true}
    nodeName: n2
    zone: b
    hints: {forZones: [{name: a}, {name: b}], forNodes: [{name: n2}]}
    targetRef: {kind: Pod, namespace: shop, name: web-x, uid: u7}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web-2, namespace: shop, labels: {kubernetes.io/service-name: web}}
  addressType: IPv6
  endpoints: [{addresses: ["fd00::2"], conditions: {ready: false, serving: false}, targetRef: {kind: VM, name: x}}]
- {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: nobodys}, addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}]}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: names, labels: {kubernetes.io/service-name: sticky}}
  addressType: FQDN
  endpoints: [{addresses: [example.com]}]
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: of-headless, labels: {kubernetes.io/service-name: headless, service.kubernetes.io/headless: ""}}
  addressType: IPv4
  endpoints: [{addresses: [10.0.0.1]}]
`

func addresses(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestServicesAndEndpointSlicesAreReadAndPrinted(t *testing.T) {
	c, err := manifests.Read(write(t, t.TempDir(), "s.yaml", services))
	if err != nil {
		t.Fatal(err)
	}
	want := source.Objects{
		Services: []state.Service{{
			Namespace: "shop", Name: "web", UID: "u1", ClusterIPs: addresses("10.96.0.10", "fd00:96::a"),
			Ports:         []state.ServicePort{{Name: "http", Protocol: state.TCP, Port: 80}, {Name: "dns", Protocol: state.UDP, Port: 53}},
			InternalLocal: true, Affinity: 10800, PublishNotReady: true, TrafficDistribution: "PreferSameZone", Created: 9,
		}, {
			Namespace: "default", Name: "sticky", ClusterIPs: addresses("10.96.0.11"), Affinity: 30,
			Ports: []state.ServicePort{{Protocol: state.SCTP, Port: 80}},
		}},
		EndpointSlices: []state.EndpointSlice{{
			Namespace: "shop", Name: "web-1", Service: "web",
			Ports: []state.EndpointPort{{Name: "http", Protocol: state.TCP, Port: 8080}, {Name: "dns", Protocol: state.UDP, Port: 5353}},
			Endpoints: []state.Endpoint{{Address: addresses("10.244.1.2")[0], Ready: true, Serving: true}, {
				Address: addresses("10.244.2.2")[0], Serving: true, Terminating: true, Node: "n2", Zone: "b",
				ForZones: []string{"a", "b"}, ForNodes: []string{"n2"}, PodNamespace: "shop", PodName: "web-x",
			}},
		}, {Namespace: "shop", Name: "web-2", Service: "web", Endpoints: []state.Endpoint{{Address: addresses("fd00::2")[0]}}}},
	}
	if d := cmp.Diff(want, c.Objects, equal...); d != "" {
		t.Error(d)
	}
	readsBack(t, c.Objects)
}

func TestWhatIsWrongWithServicesIsNamed(t *testing.T) {
	slice := "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x, labels: {kubernetes.io/service-name: s}}\n"
	for _, c := range []struct{ name, text, want string }{
		{"a virtual address that is none", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIPs: [here]}\n",
			`:1: Service x: service "default/x": spec.clusterIPs: "here" is no address`},
		{"a port that is none", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 0}]}\n",
			"spec.ports[0].port: 0 is no port"},
		{"a protocol that is none", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 1, protocol: tcp}]}\n",
			`spec.ports[0].protocol: "tcp" is neither`},
		{"a backend without an address", slice + "endpoints: [{}]\n", `endpointslice "default/x": endpoints[0].addresses: there is none`},
		{"a backend's address that is none", slice + "endpoints: [{addresses: [a.b]}]\n", `endpoints[0].addresses: "a.b" is no address`},
		{"a backend of the other family", slice + "addressType: IPv6\nendpoints: [{addresses: [10.0.0.1]}]\n", "10.0.0.1 is not of addressType IPv6"},
		{"a backend's port that is none", slice + "ports: [{port: 70000}]\n", "ports[0].port: 70000 is no port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := manifests.Read(write(t, t.TempDir(), "bad.yaml", c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant …%s…", err, c.want)
			}
		})
	}
}

const selected = `
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIPs: [10.96.0.10, "fd00:96::a"]
  selector: {app: web}
  trafficDistribution: PreferSameNode
  ports: [{name: http, port: 80, targetPort: http}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: v1
kind: Pod
metadata: {name: both, namespace: shop, labels: {app: web, more: x}}
spec: {nodeName: n1, containers: [{name: a, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: "fd00::2"}, {ip: 10.244.1.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other-port, namespace: shop, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: a, ports: [{name: http, containerPort: 9090}]}]}
status: {podIPs: [{ip: 10.244.2.2}], conditions: [{type: Ready, status: "False"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: leaving, namespace: shop, labels: {app: web}, deletionTimestamp: "2026-01-02T03:04:05Z"}
spec: {nodeName: n1, containers: [{name: a, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.244.1.3}], conditions: [{type: Ready, status: "True"}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: done, namespace: shop, labels: {app: web}}, status: {phase: Succeeded, podIPs: [{ip: 10.244.1.4}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: none-yet, namespace: shop, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: another, namespace: shop, labels: {app: db}}, status: {podIPs: [{ip: 10.244.1.5}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: elsewhere, namespace: other, labels: {app: web}}, status: {podIPs: [{ip: 10.244.1.6}]}}
`

func TestWithoutAControlPlaneBackendsFollowFromThePods(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "s.yaml", selected)
	c, err := manifests.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	ports := func(http uint16) []state.EndpointPort {
		return []state.EndpointPort{{Name: "http", Protocol: state.TCP, Port: http}, {Name: "dns", Protocol: state.UDP, Port: 53}}
	}
	at := func(pod, node, address string) state.Endpoint {
		e := state.Endpoint{Address: netip.MustParseAddr(address), Serving: true, Ready: true, Node: node, PodNamespace: "shop", PodName: pod}
		if node == "n1" {
			e.Zone = "a"
		}
		return e
	}
	hinted := func(e state.Endpoint) state.Endpoint {
		e.ForNodes, e.ForZones = []string{"n1"}, []string{"a"}
		return e
	}
	leaving, unready := at("leaving", "n1", "10.244.1.3"), at("other-port", "n2", "10.244.2.2")
	leaving.Ready, leaving.Terminating = false, true
	unready.Ready, unready.Serving = false, false
	want := []state.EndpointSlice{
		{Namespace: "shop", Name: "web-pods-0", Service: "web", Ports: ports(8080), Endpoints: []state.Endpoint{hinted(at("both", "n1", "10.244.1.2")), leaving}},
		{Namespace: "shop", Name: "web-pods-1", Service: "web", Ports: ports(9090), Endpoints: []state.Endpoint{unready}},
		{Namespace: "shop", Name: "web-pods-2", Service: "web", Ports: ports(8080), Endpoints: []state.Endpoint{hinted(at("both", "n1", "fd00::2"))}},
	}
	if d := cmp.Diff(want, c.EndpointSlices, equal...); d != "" {
		t.Error(d)
	}
	written := `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: mine, namespace: shop, labels: {kubernetes.io/service-name: web}},` +
		` addressType: IPv4, ports: [{name: http, port: 1}], endpoints: [{addresses: [192.0.2.1]}]}`
	c, err = manifests.Read(path, write(t, dir, "mine.yaml", written))
	if err != nil || len(c.EndpointSlices) != 1 || c.EndpointSlices[0].Name != "mine" {
		t.Errorf("of a Service with a slice that somebody wrote: %v, %v", c.EndpointSlices, err)
	}
}
