package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/test/lab"
)

// overlapRule allows some peers some ports, by TCP.
type overlapRule struct {
	peers []string
	ports []int
}

// overlapping are two policies. Their rules share peers with other ports, and ports with other
// peers, within a policy and across; each has enough of both to be a conjunction.
var overlapping = map[string][]overlapRule{
	"first": {
		{[]string{"c1", "c2", "c3"}, []int{8001, 8002, 8003}},
		{[]string{"c2", "c3", "c4"}, []int{8003, 8004, 8005}},
	},
	"second": {
		{[]string{"c1", "c4", "c5"}, []int{8002, 8004, 8006}},
	},
}

// allowedByOne tells whether one rule has both.
func allowedByOne(peer string, port int) bool {
	for _, rules := range overlapping {
		for _, r := range rules {
			if slices.Contains(r.peers, peer) && slices.Contains(r.ports, port) {
				return true
			}
		}
	}
	return false
}

// overlapPolicies are the policies of the pod server, for both directions.
func overlapPolicies() string {
	var list []string
	for name, rules := range overlapping {
		directions := map[string][]string{}
		for _, r := range rules {
			var peers, ports []string
			for _, p := range r.peers {
				peers = append(peers, "{podSelector: {matchLabels: {app: "+p+"}}}")
			}
			for _, p := range r.ports {
				ports = append(ports, fmt.Sprintf("{port: %d}", p))
			}
			for _, d := range []string{"from", "to"} {
				directions[d] = append(directions[d], fmt.Sprintf("{%s: [%s], ports: [%s]}", d, strings.Join(peers, ", "), strings.Join(ports, ", ")))
			}
		}
		list = append(list, object("NetworkPolicy", name, fmt.Sprintf(
			"{podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress, Egress], ingress: [%s], egress: [%s]}",
			strings.Join(directions["from"], ", "), strings.Join(directions["to"], ", "))))
	}
	return documents(list...)
}

// TestOverlappingRulesAllowNothingThatIsInNone, to the pod and from it, by packets.
func TestOverlappingRulesAllowNothingThatIsInNone(t *testing.T) {
	const ports = "[{containerPort: 8001}, {containerPort: 8002}, {containerPort: 8003}, {containerPort: 8004}, {containerPort: 8005}, " +
		"{containerPort: 8006}, {containerPort: 8003, protocol: UDP}]"
	cluster := []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"}
	for i, name := range []string{"server", "c1", "c2", "c3", "c4", "c5"} {
		cluster = append(cluster, object("Pod", name, fmt.Sprintf("{nodeName: n%d, containers: [{name: c, image: example.com/c, ports: %s}]}", 1+i%2, ports)))
	}
	objects, err := lab.ParseObjects("cluster.yaml", []byte(documents(cluster...)))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 2, Objects: objects})
	knownToBoth(t, l, overlapPolicies())
	end, err := lab.ParseEndpoint("shop/server")
	if err != nil {
		t.Fatal(err)
	}
	server := []lab.Endpoint{end}
	for _, protocol := range []string{"tcp", "udp"} {
		for _, request := range []lab.ProbeRequest{{To: server, Protocol: protocol}, {From: server, Protocol: protocol}} {
			results, err := l.Probe(testContext(t), request)
			if err != nil {
				t.Fatal(err)
			}
			tried := 0
			for _, r := range results {
				peer := r.From
				if peer == end.String() {
					peer = r.To
				}
				peer, ok := strings.CutPrefix(peer, "shop/")
				if !ok || peer == "server" {
					continue
				}
				tried++
				if want := protocol == "tcp" && allowedByOne(peer, r.Port); r.Reached != want {
					t.Errorf("%s to %s %d/%s: reached %v, want %v (%s)", r.From, r.To, r.Port, protocol, r.Reached, want, r.Error)
				}
			}
			if want := map[string]int{"tcp": 30, "udp": 5}[protocol]; tried != want {
				t.Errorf("%s: %d pairs were tried, want %d", protocol, tried, want)
			}
		}
	}
}
