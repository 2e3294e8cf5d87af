package lab_test

import (
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/test/lab"
)

func TestEverythingReachesEverything(t *testing.T) {
	l := up(t, lab.Options{})
	results := probe(t, l, lab.ProbeRequest{})
	expectAll(t, results)

	// 4 pods and 2 nodes, to 4 pods (icmp, tcp, udp), 2 nodes (icmp), outside (all),
	// less themselves.
	if want := 6*(4*3+2+3) - 4*3 - 2; len(results) != want {
		t.Errorf("%d attempts, want %d", len(results), want)
	}
	for _, result := range results {
		if result.Protocol != "icmp" && result.To != "outside" && result.AnsweredBy != result.To {
			t.Errorf("%s was answered by %q instead of %s", result.From, result.AnsweredBy, result.To)
		}
	}
}

func TestPodsAreMasqueradedAsTheirNode(t *testing.T) {
	l := up(t, lab.Options{})
	for _, name := range []string{"a1", "a2"} {
		for _, result := range probe(t, l, lab.ProbeRequest{From: ends(t, name), To: ends(t, "outside:8080/tcp", "outside:8080/udp")}) {
			want := "outside " + node(t, l, pod(t, l, name).Node).Addresses[0].String()
			if !result.Reached || result.AnsweredBy != want {
				t.Errorf("%s by %s: answer %q, want %q (%s)", name, result.Protocol, result.AnsweredBy, want, result.Error)
			}
		}
	}
	// Outside itself has no way to pods.
	for _, result := range probe(t, l, lab.ProbeRequest{From: ends(t, "outside"), To: ends(t, "a1"), Protocol: "icmp"}) {
		if result.Reached {
			t.Error("outside reaches a pod")
		}
	}
}

func TestPacketsFillTheMTUAndNoMore(t *testing.T) {
	l := up(t, lab.Options{})
	const full = 1450 - 20 - 8 // Geneve over IPv4 takes 50 of the underlay's 1500
	for _, to := range []string{"b1", "a2", "node/n1", "node/n2"} {
		expectAll(t, probe(t, l, lab.ProbeRequest{From: ends(t, "a1"), To: ends(t, to), Protocol: "icmp", Size: full}))
		for _, result := range probe(t, l, lab.ProbeRequest{From: ends(t, "a1"), To: ends(t, to), Protocol: "icmp", Size: full + 1}) {
			if result.Reached || !strings.Contains(result.Error, "MTU") {
				t.Errorf("a packet larger than the MTU: %+v", result)
			}
		}
	}
}

func TestHostNetworkPodsAndPortsThatChange(t *testing.T) {
	l := up(t, lab.Options{Objects: []lab.Object{}})
	const pods = `
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: infra}
spec: {nodeName: n1, hostNetwork: true, containers: [{name: c, ports: [{containerPort: 9100}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {nodeName: n2, containers: [{name: c, ports: [{containerPort: 80}]}]}
`
	apply(t, l, pods)
	if got := pod(t, l, "infra/host"); got.Netns != node(t, l, "n1").Netns || got.Addresses[0] != node(t, l, "n1").Addresses[0] {
		t.Errorf("pod of the host's network: %+v", got)
	}
	expectAll(t, probe(t, l, lab.ProbeRequest{}))

	apply(t, l, strings.Replace(pods, "containerPort: 80}", "containerPort: 81}", 1))
	expectAll(t, probe(t, l, lab.ProbeRequest{From: ends(t, "infra/host"), To: ends(t, "web:81/tcp")}))
	for _, result := range probe(t, l, lab.ProbeRequest{From: ends(t, "infra/host"), To: ends(t, "web:80/tcp")}) {
		if result.Reached {
			t.Error("the port that the pod no longer declares answers")
		}
	}
}
