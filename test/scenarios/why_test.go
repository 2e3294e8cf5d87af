package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/test/lab"
)

// whyPolicies: web sends to ports 8080, and what it likes to api; api receives from web and dns, but from dns
// only on port 53; prom and db receive nothing.
const whyPolicies = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - ports: [{port: 8080}]
  - to: [{podSelector: {matchLabels: {app: api}}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
  - from: [{namespaceSelector: {matchLabels: {purpose: operations}}}]
    ports: [{port: 53, protocol: UDP}, {port: 9, protocol: SCTP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: ops}
spec: {podSelector: {matchLabels: {app: prom}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all-closed, namespace: shop}
spec: {podSelector: {}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-receives, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: zz, namespace: shop}
spec: {podSelector: {matchLabels: {app: api}}, ingress: [{ports: [{port: 1}]}]}
`

// whyLab is a lab of the recipes' cluster with whyPolicies in force.
func whyLab(t *testing.T, families lab.Families) *lab.Lab {
	t.Helper()
	l := recipeLab(t, families)
	knownToBoth(t, l, whyPolicies)
	return l
}

// ctl runs sluicectl on a node, and returns what it prints and its exit status.
func ctl(t *testing.T, l *lab.Lab, place string, args ...string) (text string, status int) {
	t.Helper()
	out, err := l.Exec(testContext(t), place, append([]string{executable("sluicectl")}, args...)...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}

// whyAnswer is what the test reads of `sluicectl why -o json`.
type whyAnswer struct {
	Verdict struct {
		Allowed         bool
		Egress, Ingress struct{ Allowed bool }
	}
	HostPort struct{ Pod string }
	Switch   struct {
		Error, Elsewhere string
		Packets          []struct {
			Stage, Last, Disagrees string
			Sent                   bool
		}
	}
}

// TestTheSwitchDoesWhatThePoliciesSay, asked by `sluicectl why` on the nodes of both ends, for each pair of pods,
// both families, ports of each protocol and pings; some of it is dropped and some sent.
func TestTheSwitchDoesWhatThePoliciesSay(t *testing.T) {
	l := whyLab(t, lab.Dual)
	list, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	sent, dropped := 0, 0
	for i, from := range list.Pods {
		for j, to := range list.Pods {
			if i == j {
				continue
			}
			// Each pair is asked about one port: pairs of each kind are many.
			port := []string{"8080/TCP", "53/UDP", "9/SCTP", ""}[(i+j)%4]
			for _, n := range []string{from.Node, to.Node} {
				args := strings.Fields("why -o json " + from.Namespace + "/" + from.Name + " " + to.Namespace + "/" + to.Name + " " + port)
				text, status := ctl(t, l, "node/"+n, args...)
				var answers []whyAnswer
				if err := json.Unmarshal([]byte(text), &answers); err != nil || status != 0 || len(answers) != 2 {
					t.Fatalf("%v on %s: status %d, %v: %s", args, n, status, err, text)
				}
				for _, a := range answers {
					want := (a.Verdict.Egress.Allowed || from.Node != n) && (a.Verdict.Ingress.Allowed || to.Node != n)
					packets := 5
					if port == "" { // what has no port is remembered alike, judged or not
						packets = 3
					}
					if len(a.Switch.Packets) != packets || a.Switch.Error != "" || (a.Switch.Elsewhere != "") != (from.Node != to.Node) {
						t.Fatalf("%v on %s: %s", args, n, text)
					}
					for _, p := range a.Switch.Packets {
						if p.Sent != want || p.Disagrees != "" {
							t.Errorf("%v on %s: %s packet sent %v, want %v: %s %s", args, n, p.Stage, p.Sent, want, p.Last, p.Disagrees)
						}
						if p.Sent {
							sent++
						} else {
							dropped++
						}
					}
				}
			}
		}
	}
	t.Logf("%d packets sent, %d dropped", sent, dropped)
	if sent < 50 || dropped < 20 {
		t.Errorf("%d packets sent, %d dropped: little was tried", sent, dropped)
	}
}

// past lets everything past the policies.
const past = "table=10,priority=65000"

// recorded answers as an agent has, also when that agent is there no more to put the switch right.
type recorded struct {
	api.Agent
	state state.State
	flows []api.Flow
}

func (r recorded) State() state.State                        { return r.state }
func (r recorded) Flows(context.Context) ([]api.Flow, error) { return r.flows, nil }

// record returns the socket of one that answers as the node's agent does now.
func record(t *testing.T, n lab.NodeListing) (socket string) {
	t.Helper()
	r := recorded{flows: flowsOf(t, n)}
	var err error
	if r.state, err = api.NewClient(n.AgentSocket).State(testContext(t)); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = api.Serve(t.Context(), listener, r) }()
	return socket
}

// TestWhyTellsTableByTable what becomes of a packet, and where the switch does otherwise.
func TestWhyTellsTableByTable(t *testing.T) {
	l := whyLab(t, lab.IPv4)
	has := func(text string, lines ...string) {
		t.Helper()
		for _, line := range lines {
			if !strings.Contains(text, line) {
				t.Errorf("there is no %q in\n%s", line, text)
			}
		}
	}
	text, status := ctl(t, l, "node/n1", "why", "shop/web", "shop/api", "9090")
	if status != 0 {
		t.Errorf("status %d", status)
	}
	has(text,
		"  switch of node n1: new packet from pod shop/web: sends it in output: pod shop/api: is sent\n"+
			"    classify         pod shop/web: enters by its port\n"+
			"    spoof_guard      pod shop/web: speaks with its own address\n"+
			"    conntrack        pipeline: its connection is looked up\n"+
			"    state            pipeline: opens a connection\n"+
			"    destination      pod shop/api: is here\n"+
			"    egress_policy    pod shop/web: asks the policies that select the pod\n",
		"      calls            pod shop/web: calls the policies that select the pod, one after another\n"+
			"        policies         policy shop/web: allowed by spec.egress[1]\n",
		"        policies         policy shop/all-closed: no rule allows it\n"+
			"        policies         policy shop/api: allowed by spec.ingress[0]\n"+
			"        policies         policy shop/zz: is not asked: it is allowed already\n"+
			"    ingress_baseline pipeline: acts on what the policies say\n",
		"  switch of node n1: known packet from pod shop/web: sends it", "  switch of node n1: reply packet from pod shop/api: sends it",
		"    state            pipeline: is of a known connection\n",
		"  switch of node n1: known packet of a connection older than the first policy from pod shop/web: sends it in output: pod shop/api: is sent\n"+
			"  switch of node n1: reply packet of a connection older than the first policy from pod shop/api: sends it in output: pod shop/web: is sent\n")
	text, _ = ctl(t, l, "node/n1", "why", "shop/web", "shop/db", "9090")
	has(text, "shop/web spec.egress[0]: no: 9090/TCP is none of its ports",
		"  switch of node n1: new packet from pod shop/web: drops it in egress_baseline: pod shop/web: dropped: no policy's rule allows what the pod sends\n",
		"        policies         policy shop/web: no rule allows it\n",
		"  switch of node n1: reply packet by the tunnel from node n2: drops it",
		"  switch of node n1: known packet of a connection older than the first policy from pod shop/web: drops it in egress_baseline: pod shop/web: dropped: ",
		"  switch of node n1: reply packet of a connection older than the first policy by the tunnel from node n2: drops it in egress_baseline: pod shop/web: dropped: ")
	text, _ = ctl(t, l, "node/n1", "why", "shop/api", "ops/prom", "80")
	has(text, "shop/api ("+pod(t, l, "shop/api").Addresses[0].String()+") -> ops/prom", ": dropped\n",
		"new packet from pod shop/api: sends it in output: pipeline: is sent", "  ingress of ops/prom is judged by the switch of its own node: ask there, too\n")
	text, _ = ctl(t, l, "node/n2", "why", "shop/api", "ops/prom", "80")
	has(text, "new packet by the tunnel from node n1: drops it in ingress_baseline: pod ops/prom: dropped: no policy's rule allows what is sent to the pod\n")
	text, status = ctl(t, l, "node/n2", "why", "shop/web", "shop/api")
	has(text, "  switch of node n2: not asked: neither end is plugged in here\n")
	if status != 0 {
		t.Errorf("status %d", status)
	}

	text, status = ctl(t, l, "node/n1", "why", "shop/api", "10.244.1.200", "80")
	has(text, "drops it in destination: gateway n1: dropped: nobody has this address\n", "    that is no policy's doing\n")
	if status != 0 || strings.Contains(text, "DISAGREES") {
		t.Errorf("status %d\n%s", status, text)
	}

	socket := record(t, node(t, l, "n1"))
	whyOf := func(to, port string) (string, int) {
		t.Helper()
		return ctl(t, l, "node/n1", "why", "shop/web", to, port, "--socket", socket)
	}
	if text, status = whyOf("shop/db", "9090"); status != 0 {
		t.Errorf("status %d\n%s", status, text)
	}
	if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	unjudged := past + ",ct_state=+est+trk,ct_mark=0/0x1000000,ip"
	ofctl(t, l, "node/n1", "add-flow", "br-sluice", unjudged+",actions=goto_table:15")
	text, status = whyOf("shop/db", "9090")
	has(text, "known packet of a connection older than the first policy from pod shop/web: sends it in output: pipeline: is sent\n"+
		"    classify         pod shop/web: enters by its port\n")
	if status != 1 || strings.Count(text, "DISAGREES") != 2 {
		t.Errorf("status %d\n%s", status, text)
	}
	ofctl(t, l, "node/n1", "--strict", "del-flows", "br-sluice", unjudged)
	ofctl(t, l, "node/n1", "add-flow", "br-sluice", past+",actions=goto_table:15")
	text, status = whyOf("shop/db", "9090")
	has(text, "    egress_policy    somebody else: a flow that is not Sluice's\n",
		"    DISAGREES: the policies do not allow it, and the switch lets it through\n",
		"sluicectl: the switch does otherwise than the policies say")
	if status != 1 || strings.Count(text, "DISAGREES") != 5 {
		t.Errorf("status %d\n%s", status, text)
	}
	ofctl(t, l, "node/n1", "--strict", "mod-flows", "br-sluice", past+",actions=drop")
	text, status = whyOf("shop/db", "8080")
	has(text, "    DISAGREES: the policies allow it, and the switch drops it\n")
	if status != 1 {
		t.Errorf("status %d\n%s", status, text)
	}
	if err := l.Start(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they agree again", func() error {
		if text, status := ctl(t, l, "node/n1", "why", "shop/web", "shop/db", "8080"); status != 0 {
			return errors.New(text)
		}
		return nil
	})
}

// TestWhyAndPoliciesSayWhatIsWrongWithAQuestion, and answer the rest of it where they can.
func TestWhyAndPoliciesSayWhatIsWrongWithAQuestion(t *testing.T) {
	l := whyLab(t, lab.IPv4)
	for _, c := range []struct{ args, want string }{
		{"why shop/wep shop/api", "there is no Pod shop/wep in what node n1 knows; Pods plugged in here: ops/dns, shop/api, shop/web"},
		{"why shop/web node/n7", `there is no Node "n7" in what node n1 knows; Nodes there: n1, n2`},
		{"why shop/web shop/api http", `"http" is no port`},
		{"why shop/web fd00::2", "no address of the same family"},
		{"why shop/web shop/api --ovs-rundir /nonexistent", "shop/web spec.egress[1]: yes"},
		{"why shop/web shop/api --ovs-rundir /nonexistent", "  switch of node n1: cannot be asked: "},
		{"why shop/web shop/api --ovs-rundir /nonexistent", "sluicectl: the switch could not be asked"},
		{"why shop/web shop/api -o yaml", `-o "yaml": expected json`},
		{"why shop/web shop/api --socket /nonexistent", "-f DIR|FILE asks YAML alone, without an agent"},
		{"policies --socket /nonexistent", "no agent at /nonexistent"},
		{"policies shop/db", "shop/db is not plugged in on node n1: ask on node n2"},
		{"policies outside", "outside is no pod: policies select pods"},
		{"policies shop/none", "there is no Pod shop/none"},
	} {
		if text, status := ctl(t, l, "node/n1", strings.Fields(c.args)...); status != 1 || !strings.Contains(text, c.want) {
			t.Errorf("%s: status %d, want %q in\n%s", c.args, status, c.want, text)
		}
	}
}

// TestWhyAndPoliciesNameAPolicyThatCannotBeUnderstood; the switch denies as they say.
func TestWhyAndPoliciesNameAPolicyThatCannotBeUnderstood(t *testing.T) {
	l := whyLab(t, lab.IPv4)
	known(t, node(t, l, "n1"), `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: bad, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress: [{from: [{ipBlock: {cidr: 10.244.1.300/24}}]}, {}]
`)
	text, status := ctl(t, l, "node/n1", "policies")
	if status != 0 || !strings.Contains(text, "shop/bad cannot be understood, and so allows nothing: ") {
		t.Errorf("status %d\n%s", status, text)
	}
	text, status = ctl(t, l, "node/n1", "why", "shop/web", "shop/api", "8080")
	if status != 0 || strings.Contains(text, "DISAGREES") {
		t.Errorf("status %d\n%s", status, text)
	}
	for _, want := range []string{
		"isolated for ingress by shop/bad (which cannot be understood: ",
		"drops it in ingress_baseline: pod shop/api: dropped: no policy's rule allows what is sent to the pod\n",
		"        policies         policy shop/bad: no rule allows it\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
}
