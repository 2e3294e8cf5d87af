package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const whyCluster = `apiVersion: v1
kind: Service
metadata: {name: data, namespace: shop}
spec: {clusterIPs: [10.96.0.1], ports: [{name: a, port: 80}, {name: b, port: 81}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: data-1, namespace: shop, labels: {kubernetes.io/service-name: data}}
addressType: IPv4
ports: [{name: a, port: 5432}]
endpoints:
- {addresses: [10.244.1.3], nodeName: n1, targetRef: {kind: Pod, namespace: shop, name: db}, hints: {forZones: [{name: east}]}}
- {addresses: [192.0.2.7]}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 10.9.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.244.1.2}, {ip: "fd00::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 5432, hostPort: 15432}, {containerPort: 5433, hostPort: 15433, hostIP: 127.0.0.1, protocol: UDP}]}]}
status: {podIPs: [{ip: 10.244.1.3}, {ip: "fd00::3"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: new}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: bad}
spec: {podSelector: {matchLabels: {app: "?"}}, policyTypes: [Egress]}
`

// ctl runs a command on whyCluster, and returns what it prints, or its error.
func ctl(t *testing.T, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte(whyCluster), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := command()
	cmd.SetOut(&out)
	cmd.SetArgs(append(args, "-f", file))
	if run(t.Context(), cmd, &out) != 0 {
		return strings.ReplaceAll(out.String(), file, "FILE")
	}
	return out.String()
}

func TestWhy(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"shop/web", "shop/db:5432"}, `shop/web (10.244.1.2) -> shop/db (10.244.1.3) 5432/TCP: allowed
  egress of shop/web: allowed: no policy selects it for egress
  ingress of shop/db: allowed: shop/db spec.ingress[0] allows it
    shop/db spec.ingress[0]: yes: from pods with app=web in namespace shop, port 5432/TCP

shop/web (fd00::2) -> shop/db (fd00::3) 5432/TCP: allowed
  egress of shop/web: allowed: no policy selects it for egress
  ingress of shop/db: allowed: shop/db spec.ingress[0] allows it
    shop/db spec.ingress[0]: yes: from pods with app=web in namespace shop, port 5432/TCP
`},
		{[]string{"10.244.1.2", "10.244.1.3", "5433/tcp"}, `10.244.1.2 -> 10.244.1.3 5433/TCP: dropped
  egress of 10.244.1.2: allowed: no policy selects it for egress
  ingress of 10.244.1.3: dropped: isolated for ingress by shop/db, and no rule allows it
    shop/db spec.ingress[0]: no: 5433/TCP is none of its ports: 5432/TCP
`},
		{[]string{"new", "outside"}, `default/new (100.64.0.1) -> outside (192.0.2.1) ICMP: dropped
  egress of default/new: dropped: isolated for egress by default/bad (which cannot be understood: FAULT), and no rule allows it
    default/bad has no rule for egress
  ingress of outside: allowed: 192.0.2.1 is no pod's address, so no policy selects it
  note: default/new has no status.podIPs: 100.64.0.1 stands for its address
  note: 192.0.2.1 and 2001:db8::1 stand for all that is outside; a rule with an ipBlock may say otherwise of another address
`},
		{[]string{"node/n1", "shop/db", "9/SCTP"}, `node/n1 (10.9.0.1) -> shop/db (10.244.1.3) 9/SCTP: allowed
  egress of node/n1: allowed: a pod and its own node (n1) always reach each other
  ingress of shop/db: allowed: a pod and its own node (n1) always reach each other
`},
		{[]string{"shop/web", "node/n1:15432"}, `shop/web (10.244.1.2) -> node/n1 (10.244.1.3) 5432/TCP: allowed
  host port: 10.9.0.1:15432/TCP of node n1 leads to shop/db (10.244.1.3:5432), translated by the switch of node n1
  egress of shop/web: allowed: no policy selects it for egress
  ingress of node/n1: allowed: shop/db spec.ingress[0] allows it
    shop/db spec.ingress[0]: yes: from pods with app=web in namespace shop, port 5432/TCP
`},
		{[]string{"192.0.2.9", "10.244.1.1:15432"}, `192.0.2.9 -> 10.244.1.1 (10.244.1.3) 5432/TCP: dropped
  host port: 10.244.1.1:15432/TCP of node n1 leads to shop/db (10.244.1.3:5432), translated by the nftables table inet sluice of node n1
  egress of 192.0.2.9: allowed: 192.0.2.9 is no pod's address, so no policy selects it
  ingress of 10.244.1.1: dropped: isolated for ingress by shop/db, and no rule allows it
    shop/db spec.ingress[0]: no: 192.0.2.9 is none of its peers: pods with app=web in namespace shop
`},
		{[]string{"node/n1", "127.0.0.1:15433/udp"}, `node/n1 (10.9.0.1) -> 127.0.0.1 (10.244.1.3) 5433/UDP: allowed
  host port: 127.0.0.1:15433/UDP of node n1 leads to shop/db (10.244.1.3:5433), translated by the nftables table inet sluice of node n1
  egress of node/n1: allowed: a pod and its own node (n1) always reach each other
  ingress of 127.0.0.1: allowed: a pod and its own node (n1) always reach each other
`},
		{[]string{"shop/web", "node/n1:15433/udp"}, `shop/web (10.244.1.2) -> node/n1 (10.9.0.1) 15433/UDP: allowed
  egress of shop/web: allowed: a pod and its own node (n1) always reach each other
  ingress of node/n1: allowed: a pod and its own node (n1) always reach each other
`},
		{[]string{"shop/wep", "shop/db", "9/SCTP"}, "sluicectl: there is no Pod shop/wep in FILE; Pods there: default/new, shop/db, shop/web\n"},
		{[]string{"node/n7", "shop/db", "9/SCTP"}, "sluicectl: there is no Node \"n7\" in FILE; Nodes there: n1\n"},
		{[]string{"fd00::2", "new", "9/SCTP"}, "sluicectl: fd00::2 has [fd00::2], default/new has [100.64.0.1]: no address of the same family\n"},
		{[]string{"shop/db", "svc/shop/data:80"}, `shop/db (10.244.1.3) -> svc/shop/data (10.244.1.3) 5432/TCP: allowed
  service: 10.96.0.1:80/TCP of Service shop/data is given to shop/db (ready), one of 2 backends
  service: hints are not used: this node has no zone
  egress of shop/db: allowed: it is the same address: a pod always reaches itself
  ingress of svc/shop/data: allowed: it is the same address: a pod always reaches itself

shop/db (10.244.1.3) -> svc/shop/data (192.0.2.7) 5432/TCP: allowed
  service: 10.96.0.1:80/TCP of Service shop/data is given to 192.0.2.7:5432 (ready), one of 2 backends
  service: hints are not used: this node has no zone
  egress of shop/db: allowed: no policy selects it for egress
  ingress of svc/shop/data: allowed: 192.0.2.7 is no pod's address, so no policy selects it
`},
		{[]string{"outside", "10.96.0.1:80"}, `outside (192.0.2.1) -> 10.96.0.1 (10.244.1.3) 5432/TCP: dropped
  service: 10.96.0.1:80/TCP of Service shop/data is given to shop/db (ready), one of 2 backends
  service: hints are not used: this node has no zone
  egress of outside: allowed: 192.0.2.1 is no pod's address, so no policy selects it
  ingress of 10.96.0.1: dropped: isolated for ingress by shop/db, and no rule allows it
    shop/db spec.ingress[0]: no: 192.0.2.1 is none of its peers: pods with app=web in namespace shop
  note: 192.0.2.1 and 2001:db8::1 stand for all that is outside; a rule with an ipBlock may say otherwise of another address

outside (192.0.2.1) -> 10.96.0.1 (192.0.2.7) 5432/TCP: allowed
  service: 10.96.0.1:80/TCP of Service shop/data is given to 192.0.2.7:5432 (ready), one of 2 backends
  service: hints are not used: this node has no zone
  egress of outside: allowed: 192.0.2.1 is no pod's address, so no policy selects it
  ingress of 10.96.0.1: allowed: 192.0.2.7 is no pod's address, so no policy selects it
  note: 192.0.2.1 and 2001:db8::1 stand for all that is outside; a rule with an ipBlock may say otherwise of another address
`},
		{[]string{"shop/web", "svc/shop/data:81"}, `shop/web (10.244.1.2) -> svc/shop/data (10.96.0.1) 81/TCP: refused
  service: 10.96.0.1:81/TCP of Service shop/data is refused: none of its backends serves
`},
		{[]string{"shop/web", "svc/shop/data:82/UDP"}, `shop/web (10.244.1.2) -> svc/shop/data (10.96.0.1) 82/UDP: refused
  service: 10.96.0.1:82/UDP of Service shop/data is refused: it has no such port
`},
		{[]string{"shop/web", "svc/shop/data"}, `shop/web (10.244.1.2) -> svc/shop/data (10.96.0.1) ICMP: refused
  service: 10.96.0.1 of Service shop/data is refused: it has no such port
`},
		{[]string{"shop/web", "svc/shop/db:80"}, "sluicectl: there is no Service shop/db with a virtual address in FILE\n"},
		{[]string{"svc/shop/data", "shop/db:80"}, "sluicectl: svc/shop/data is a Service: it opens no connections; name one of its pods\n"},
		{[]string{"shop/web", "shop/db", "http"}, "sluicectl: \"http\" is no port: expected one like 80/TCP, 53/UDP or 9/SCTP\n"},
		{[]string{"shop/web", "shop/db:80", "80"}, "sluicectl: the port stands twice: behind TO, and by itself\n"},
		{[]string{"a/b/c", "shop/db"}, "sluicectl: \"a/b/c\" is no endpoint: write [namespace/]pod, an IP address, svc/namespace/name, node/name or outside, with :port[/protocol] where a port is meant\n"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			if d := cmp.Diff(c.want, withoutFault(ctl(t, append([]string{"why"}, c.args...)...))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, `POLICY       SELECTS     INGRESS  EGRESS   PODS
default/bad  everything  -        nothing  default/new
shop/db      app=db      1 rule   -        shop/db
default/bad cannot be understood, and so allows nothing: FAULT
`},
		{[]string{"shop/db"}, `POLICY   SELECTS  INGRESS  EGRESS  PODS
shop/db  app=db   1 rule   -       shop/db
`},
		{[]string{"shop/none"}, "sluicectl: there is no Pod shop/none in FILE; Pods there: default/new, shop/db, shop/web\n"},
		{[]string{"outside"}, "sluicectl: outside is no pod: policies select pods\n"},
	} {
		if d := cmp.Diff(c.want, withoutFault(ctl(t, append([]string{"policies"}, c.args...)...))); d != "" {
			t.Error(d)
		}
	}
}

// withoutFault leaves out what Kubernetes' own validation says of the label.
func withoutFault(text string) string {
	i := strings.Index(text, "spec.podSelector")
	if i < 0 {
		return text
	}
	rest := text[i:]
	end := strings.IndexByte(rest, '\n')
	if j := strings.Index(rest[:end], "), and no rule"); j >= 0 {
		end = j
	}
	return text[:i] + "FAULT" + rest[end:]
}
