package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const servicesCluster = `
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}, spec: {podCIDRs: [10.244.1.0/24]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}, spec: {clusterIPs: [10.96.0.1, "fd96::1"], ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: late, namespace: shop, creationTimestamp: "2026-02-01T00:00:00Z"}, spec: {clusterIPs: [10.96.0.1], ports: [{port: 80}, {name: u, port: 53, protocol: UDP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless, namespace: shop}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: near}, spec: {clusterIPs: [10.96.0.3], trafficDistribution: PreferClose, ports: [{port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
- {addresses: [10.244.1.2], nodeName: n1, targetRef: {kind: Pod, namespace: shop, name: web-a}}
- {addresses: [10.244.2.2], nodeName: n2, conditions: {ready: false, serving: true, terminating: true}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: near-1, labels: {kubernetes.io/service-name: near}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
- {addresses: [10.244.1.3], hints: {forZones: [{name: a}]}}
- {addresses: [10.244.2.3], hints: {forZones: [{name: b}]}}
`

func TestServicesTellsWhichBackendsAreUsedAndWhy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(servicesCluster), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"", `SERVICE       ADDRESS           BACKEND          POD         NODE  CONNECTIONS  USED
default/near  10.96.0.3:80/TCP  10.244.1.3:8080  -           -     -            yes
default/near  10.96.0.3:80/TCP  10.244.2.3:8080  -           -     -            no: hinted for elsewhere
shop/late     10.96.0.1:53/UDP  none: refused                                   
shop/web      10.96.0.1:80/TCP  10.244.1.2:8080  shop/web-a  n1    -            yes
shop/web      10.96.0.1:80/TCP  10.244.2.2:8080  -           n2    -            no: terminating
shop/web      [fd96::1]:80/TCP  none: refused                                   
default/near 10.96.0.3:80/TCP: hints for zone a are used
shop/late does not have 10.96.0.1:80/TCP: it is shop/web's, which comes first
`},
		{"near -o json", `{
  "node": "n1",
  "services": [
    {
      "service": "default/near",
      "ports": [
        {
          "protocol": "TCP",
          "addresses": [
            "10.96.0.3:80"
          ],
          "topology": "hints for zone a are used",
          "backends": [
            {
              "address": "10.244.1.3:8080",
              "used": true,
              "why": "ready"
            },
            {
              "address": "10.244.2.3:8080",
              "used": false,
              "why": "hinted for elsewhere"
            }
          ]
        }
      ]
    }
  ]
}
`},
		{"shop/headless", "sluicectl: there is no Service shop/headless with a virtual address\n"},
	} {
		var out strings.Builder
		cmd := command()
		cmd.SetOut(&out)
		cmd.SetArgs(append([]string{"services", "-f", file, "--node", "n1"}, strings.Fields(c.args)...))
		run(t.Context(), cmd, &out)
		if d := cmp.Diff(c.want, out.String()); d != "" {
			t.Errorf("services %s:\n%s", c.args, d)
		}
	}
}
