package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func testCluster() *cluster {
	uids := 0
	return newCluster(
		func() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC) },
		func() string { uids++; return fmt.Sprintf("uid-%d", uids) },
	)
}

func parse(t *testing.T, text string) []Object {
	t.Helper()
	objects, err := ParseObjects("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func accept(t *testing.T, c *cluster, text string) *change {
	t.Helper()
	done, err := c.accept(parse(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func twoNodes(t *testing.T) *cluster {
	t.Helper()
	c := testCluster()
	if _, err := c.accept(withNumberedNodes(nil, 2, IPv4)); err != nil {
		t.Fatal(err)
	}
	return c
}

func nodeOf(c *cluster, namespace, name string) string {
	node, _, _ := unstructured.NestedString(c.objects[podKey(namespace, name)].Object, "spec", "nodeName")
	return node
}

func TestNodesAreMadeUpAsAClusterWouldHaveThem(t *testing.T) {
	c := twoNodes(t)
	got, err := c.objects[nodeKey("n2")].yaml()
	if err != nil {
		t.Fatal(err)
	}
	const want = `apiVersion: v1
kind: Node
metadata:
  creationTimestamp: "2030-01-02T03:04:05Z"
  labels:
    kubernetes.io/hostname: n2
  name: n2
  uid: uid-2
spec:
  podCIDR: 10.244.2.0/24
  podCIDRs:
  - 10.244.2.0/24
status:
  addresses:
  - address: 10.9.0.2
    type: InternalIP
  - address: n2
    type: Hostname
  conditions:
  - reason: LabNode
    status: "True"
    type: Ready
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestNodesThatAreGiven(t *testing.T) {
	c := testCluster()
	given := parse(t, `
{apiVersion: v1, kind: Node, metadata: {name: n2, labels: {zone: east}}, spec: {podCIDRs: [10.7.0.0/24]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}}
---
{apiVersion: v1, kind: Node, metadata: {name: edge}, spec: {podCIDR: 10.8.0.0/24}, status: {addresses: [{type: InternalIP, address: 10.9.0.77}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: far}, spec: {podCIDR: 10.6.0.0/24}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
`)
	done, err := c.accept(withNumberedNodes(given, 3, IPv4))
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		Address string
		CIDRs   []string
		Zone    string
	}
	got := map[string]facts{}
	for _, node := range c.ofKind(nodeKind) {
		got[node.GetName()] = facts{nodeAddressTexts(node)[0], podCIDRs(node), node.GetLabels()["zone"]}
	}
	want := map[string]facts{
		"n1":   {"10.9.0.1", nil, ""}, // a Node without podCIDRs stays without
		"n2":   {"10.9.0.2", []string{"10.7.0.0/24"}, "east"},
		"n3":   {"10.9.0.3", []string{"10.244.3.0/24"}, ""},
		"edge": {"10.9.0.77", []string{"10.8.0.0/24"}, ""},
		"far":  {"10.9.0.4", []string{"10.6.0.0/24"}, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	notes := strings.Join(done.notes, "\n")
	for _, want := range []string{"node n1 has no spec.podCIDRs", "node far has the address 10.9.0.4: 192.0.2.1 is not free"} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes %q do not tell %q", notes, want)
		}
	}
}

func TestAChangedNodeKeepsAddressAndPodCIDRs(t *testing.T) {
	c := twoNodes(t)
	done := accept(t, c, `{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {zone: east}}}`)
	node := c.objects[nodeKey("n1")]
	if node.GetLabels()["zone"] != "east" || podCIDRs(node)[0] != "10.244.1.0/24" || nodeAddressTexts(node)[0] != "10.9.0.1" || node.GetUID() != "uid-1" {
		t.Errorf("n1 is %v", node.Object)
	}
	if len(done.newNodes) != 0 {
		t.Errorf("new nodes %v", done.newNodes)
	}
}

func TestPodsAreSpreadOverNodes(t *testing.T) {
	c := twoNodes(t)
	accept(t, c, `
{apiVersion: v1, kind: Pod, metadata: {name: a}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b}}
---
{apiVersion: v1, kind: Pod, metadata: {name: c}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: d}, spec: {nodeName: n1}}
`)
	got := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		got[name] = nodeOf(c, "default", name)
	}
	want := map[string]string{"a": "n2", "b": "n2", "c": "n1", "d": "n1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPodsFollowNodeSelectorAndUnschedulable(t *testing.T) {
	c := twoNodes(t)
	accept(t, c, `
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {unschedulable: true}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {nodeSelector: {kubernetes.io/hostname: n2}}}
`)
	if a, b := nodeOf(c, "default", "a"), nodeOf(c, "default", "b"); a != "n2" || b != "n2" {
		t.Errorf("pods are on %s and %s, want n2", a, b)
	}
	_, err := c.accept(parse(t, `{apiVersion: v1, kind: Pod, metadata: {name: c}, spec: {nodeSelector: {kubernetes.io/hostname: n1}}}`))
	if err == nil || !strings.Contains(err.Error(), "no node takes it") {
		t.Errorf("error %v", err)
	}
}

func TestNamespacesGetTheirNameAsLabelAndAreMadeWhenNeeded(t *testing.T) {
	c := twoNodes(t)
	accept(t, c, `
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: prod}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: prod, labels: {team: x}}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny, namespace: dev}}
`)
	for _, name := range []string{"prod", "dev"} {
		if got := c.objects[namespaceKey(name)].GetLabels()["kubernetes.io/metadata.name"]; got != name {
			t.Errorf("label of namespace %s is %q", name, got)
		}
	}
	if got := c.objects[namespaceKey("prod")].GetLabels()["team"]; got != "x" {
		t.Errorf("label team is %q", got)
	}
}

func TestAChangedPodStaysWhereItIs(t *testing.T) {
	c := twoNodes(t)
	accept(t, c, `{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: x, gone: soon}}, spec: {nodeName: n2}}`)
	setPodRunning(c.objects[podKey("default", "a")], []netip.Addr{netip.MustParseAddr("10.244.2.9")}, []netip.Addr{netip.MustParseAddr("10.9.0.2")}, "2030-01-02T03:04:05Z")
	before := c.objects[podKey("default", "a")]
	accept(t, c, `{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: z}}, status: {podIP: 1.2.3.4}}`)
	after := c.objects[podKey("default", "a")]
	if diff := cmp.Diff(map[string]string{"app": "z"}, after.GetLabels()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before.Object["status"], after.Object["status"]); diff != "" {
		t.Error(diff)
	}
	if nodeOf(c, "default", "a") != "n2" || after.GetUID() != before.GetUID() {
		t.Errorf("pod is %v", after.Object)
	}
}

func TestWhatIsRefusedChangesNothing(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"an unknown node, with those there are", `{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {nodeName: n9}}`,
			`test.yaml:1: pod/default/b: spec.nodeName: there is no node "n9"; the nodes are n1, n2`},
		{"a pod that would move", `{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: n2}}`,
			"test.yaml:1: pod/default/a is on node n1 and does not move"},
		{"a pod that changes networks", `{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {hostNetwork: true}}`,
			"test.yaml:1: pod/default/a exists with hostNetwork false"},
		{"a port out of range", `{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {containers: [{ports: [{containerPort: 70000}]}]}}`,
			"test.yaml:1: pod/default/b: containerPort 70000 is none"},
		{"a protocol that nobody knows", `{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {containers: [{ports: [{containerPort: 7, protocol: tcp}]}]}}`,
			`test.yaml:1: pod/default/b: protocol "tcp" is unknown`},
		{"a field of the wrong type, by its name", `{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {hostNetwork: maybe}}`, "spec.hostNetwork"},
		{"a podCIDR that is none", `{apiVersion: v1, kind: Node, metadata: {name: n3}, spec: {podCIDRs: [10.1.2.3]}}`,
			`test.yaml:1: node/n3: spec.podCIDRs: "10.1.2.3" is no prefix`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := twoNodes(t)
			accept(t, c, `{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: n1}}`)
			before := len(c.objects)
			_, err := c.accept(append(parse(t, `{apiVersion: v1, kind: Pod, metadata: {name: fine}}`), parse(t, test.text)...))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if len(c.objects) != before {
				t.Errorf("there are %d objects, were %d", len(c.objects), before)
			}
		})
	}
}

func TestTheExampleHasTwoPodsOnEachNode(t *testing.T) {
	c := testCluster()
	if _, err := c.accept(withNumberedNodes(Example(3), 3, IPv4)); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, object := range c.ofKind(podKind) {
		pod, err := object.pod()
		if err != nil {
			t.Fatal(err)
		}
		count[pod.Spec.NodeName]++
		want := []Port{{8080, "TCP"}, {8080, "UDP"}}
		if diff := cmp.Diff(want, declaredPorts(pod)); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff(map[string]int{"n1": 2, "n2": 2, "n3": 2}, count); diff != "" {
		t.Error(diff)
	}
}
