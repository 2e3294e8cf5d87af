package manifests_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

const policies = `
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  containers:
  - {name: a, ports: [{containerPort: 80, name: http}, {containerPort: 9, protocol: UDP}]}
  - {name: b, ports: [{containerPort: 53, name: dns, protocol: UDP}]}
  initContainers:
  - {name: once, ports: [{containerPort: 1, name: once}]}
  - {name: sidecar, restartPolicy: Always, ports: [{containerPort: 15020, name: metrics}]}
status: {phase: Running, podIPs: [{ip: 10.244.1.2}, {ip: "fd00::2"}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all, namespace: shop, uid: u1, resourceVersion: "7", managedFields: [{manager: kubectl}]}
spec:
  podSelector:
    matchLabels: {app: web}
    matchExpressions: [{key: tier, operator: NotIn, values: [a, b]}]
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {}
    - namespaceSelector: {matchLabels: {team: x}}
      podSelector: {matchExpressions: [{key: app, operator: Exists}]}
    - ipBlock: {cidr: 10.0.0.1/8, except: [10.1.0.0/16]}
    ports:
    - {}
    - {protocol: UDP, port: dns}
    - {protocol: SCTP, port: 100, endPort: 200}
  egress:
  - {}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: none}
spec: {podSelector: {}}
`

func TestNetworkPoliciesAndNamedPortsAreRead(t *testing.T) {
	c, err := manifests.Read(write(t, t.TempDir(), "p.yaml", policies))
	if err != nil {
		t.Fatal(err)
	}
	everything := state.Selector{}
	want := []state.NetworkPolicy{{
		Namespace: "shop", Name: "all", UID: "u1", Types: []state.Direction{state.Ingress, state.Egress},
		Selects: state.Selector{
			Labels:       map[string]string{"app": "web"},
			Requirements: []state.Requirement{{Key: "tier", Operator: state.NotIn, Values: []string{"a", "b"}}},
		},
		Ingress: []state.PolicyRule{{
			Peers: []state.PolicyPeer{
				{Pods: &everything},
				{Namespaces: &state.Selector{Labels: map[string]string{"team": "x"}}, Pods: &state.Selector{Requirements: []state.Requirement{{Key: "app", Operator: state.Exists}}}},
				{Block: &state.IPBlock{CIDR: netip.MustParsePrefix("10.0.0.0/8"), Except: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}},
			},
			Ports: []state.PolicyPort{{}, {Protocol: state.UDP, Name: "dns"}, {Protocol: state.SCTP, Number: 100, End: 200}},
		}},
		Egress: []state.PolicyRule{{}},
	}, {Namespace: "default", Name: "none"}}
	if d := cmp.Diff(want, c.NetworkPolicies, equal...); d != "" {
		t.Error(d)
	}
	ports := []state.NamedPort{{Name: "http", Protocol: state.TCP, Port: 80}, {Name: "dns", Protocol: state.UDP, Port: 53}, {Name: "metrics", Protocol: state.TCP, Port: 15020}}
	if d := cmp.Diff(ports, c.Pods[0].Ports); d != "" {
		t.Error(d)
	}
}

// A policy that cannot be understood isolates what it selects and allows nothing.
func TestPoliciesThatCannotBeUnderstood(t *testing.T) {
	both := []state.Direction{state.Ingress, state.Egress}
	in := []state.Direction{state.Ingress}
	web := state.Selector{Labels: map[string]string{"app": "web"}}
	for _, c := range []struct {
		name, spec, fault string
		types             []state.Direction
		selects           state.Selector
	}{
		{"unknown operator in the selector", `{podSelector: {matchExpressions: [{key: app, operator: Like, values: [a]}]}}`, `spec.podSelector: "Like" is not a valid label selector operator`, in, state.Selector{}},
		{"In without values", `{podSelector: {matchExpressions: [{key: app, operator: In}]}}`, "spec.podSelector: ", in, state.Selector{}},
		{"Exists with values", `{podSelector: {matchExpressions: [{key: app, operator: Exists, values: [a]}]}}`, "spec.podSelector: ", in, state.Selector{}},
		{"unknown operator in a peer", `{podSelector: {matchLabels: {app: web}}, egress: [{}, {to: [{podSelector: {matchExpressions: [{key: a, operator: "=="}]}}]}]}`, "spec.egress[1].to[0].podSelector: ", both, web},
		{"an empty peer", `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{}]}]}`, "spec.ingress[0].from[0]: has neither", in, web},
		{"a peer of both kinds", `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}`, "can have one only", in, web},
		{"a bad CIDR", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.0}}]}]}`, `spec.ingress[0].from[0].ipBlock.cidr: "10.0.0.0" is no CIDR`, in, web},
		{"an except outside", `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}`, `spec.ingress[0].from[0].ipBlock.except[0]: "11.0.0.0/16" is not within`, in, web},
		{"an except that is all", `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}`, "is not within", in, web},
		{"an except of the other family", `{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: ["fd00::/16"]}}]}]}`, "is not within", in, web},
		{"an unknown protocol", `{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{protocol: ICMP}]}]}`, `spec.ingress[0].ports[0].protocol: "ICMP" is neither`, in, web},
		{"port 0", `{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 0}]}]}`, "spec.ingress[0].ports[0].port: 0 is no port", in, web},
		{"a number in quotes", `{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: "80"}]}]}`, `spec.ingress[0].ports[0].port: "80" is no port's name`, in, web},
		{"a range without its beginning", `{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{endPort: 80}]}]}`, "spec.ingress[0].ports[0].endPort: needs", in, web},
		{"a range from a name", `{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http, endPort: 80}]}]}`, "spec.ingress[0].ports[0].endPort: needs", in, web},
		{"a range backwards", `{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 90, endPort: 80}]}]}`, "spec.ingress[0].ports[0].endPort: 80 is not from", in, web},
		{"an unknown type", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Forward]}`, `spec.policyTypes[1]: "Forward" is neither`, both, web},
		{"more rules than have numbers", "{podSelector: {matchLabels: {app: web}}, ingress: [{}" + strings.Repeat(", {}", flows.MaxPolicyRules) + "]}", "spec.ingress: 32769 rules, of which 32768 can be served", in, web},
		{"an unknown field", `{podSelector: {matchLabels: {app: web}}, ingress: [{form: [{podSelector: {}}]}]}`, `spec: unknown field "form"`, in, web},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec: " + c.spec + "\n"
			got, err := manifests.Read(write(t, t.TempDir(), "p.yaml", text))
			if err != nil {
				t.Fatal(err)
			}
			p := got.NetworkPolicies[0]
			if !strings.Contains(p.Fault, c.fault) {
				t.Errorf("fault %q, not %q", p.Fault, c.fault)
			}
			p.Fault = ""
			if d := cmp.Diff(state.NetworkPolicy{Namespace: "shop", Name: "p", Selects: c.selects, Types: c.types}, p, equal...); d != "" {
				t.Error(d)
			}
			readsBack(t, got.Objects)
		})
	}
}

func TestPrintedPoliciesReadBack(t *testing.T) {
	c, err := manifests.Read(write(t, t.TempDir(), "p.yaml", policies))
	if err != nil {
		t.Fatal(err)
	}
	readsBack(t, c.Objects)
}

func readsBack(t *testing.T, o source.Objects) {
	t.Helper()
	var text strings.Builder
	for _, o := range source.Manifests(o) {
		y, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("---\n" + string(y))
	}
	back, err := manifests.Read(write(t, t.TempDir(), "printed.yaml", text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(o, back.Objects, equal...); d != "" {
		t.Error(d)
	}
}
