package scenarios

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/test/lab"
)

// policiesAnswer is what the test reads of `sluicectl policies -o json`.
type policiesAnswer struct {
	Node     string
	Policies []struct {
		Policy string
		Pods   []string
		Rules  []struct {
			Rule    string
			Packets uint64
		}
	}
	Isolated []struct {
		Pod                           string
		EgressDropped, IngressDropped *uint64
	}
}

// counted are the counters that a node's `sluicectl policies` tells, by rule, and by pod and direction.
func counted(t *testing.T, l *lab.Lab, place string, args ...string) map[string]uint64 {
	t.Helper()
	text, status := ctl(t, l, place, append([]string{"policies", "-o", "json"}, args...)...)
	var a policiesAnswer
	if err := json.Unmarshal([]byte(text), &a); err != nil || status != 0 {
		t.Fatalf("status %d, %v: %s", status, err, text)
	}
	out := map[string]uint64{}
	for _, p := range a.Policies {
		out[p.Policy+" selects "+strings.Join(p.Pods, ",")] = 0
		for _, r := range p.Rules {
			out[p.Policy+" "+r.Rule] = r.Packets
		}
	}
	for _, p := range a.Isolated {
		if p.EgressDropped != nil {
			out[p.Pod+" egress"] = *p.EgressDropped
		}
		if p.IngressDropped != nil {
			out[p.Pod+" ingress"] = *p.IngressDropped
		}
	}
	return out
}

// TestPoliciesCountsWhatRulesAllowAndIsolationDrops, to the packet.
func TestPoliciesCountsWhatRulesAllowAndIsolationDrops(t *testing.T) {
	l := whyLab(t, lab.IPv4)
	const pings = 3
	pings3 := func(from, to string, arrive bool) {
		t.Helper()
		out, err := l.Exec(testContext(t), from, "ping", "-c", fmt.Sprint(pings), "-i", "0.1", "-W", "1", pod(t, l, to).Addresses[0].String())
		if (err == nil) != arrive {
			t.Fatalf("%s to %s: %v: %s", from, to, err, out)
		}
	}
	pings3("shop/web", "shop/api", true)  // by web's second rule, and api's first
	pings3("shop/web", "ops/dns", false)  // not of web's ports
	pings3("ops/dns", "shop/api", false)  // not of the rule's ports
	pings3("shop/api", "ops/prom", false) // on the other node
	for place, want := range map[string]map[string]uint64{
		"node/n1": {
			"shop/api selects shop/api": 0, "shop/web selects shop/web": 0, "shop/all-closed selects shop/api,shop/web": 0,
			"shop/web-receives selects shop/web": 0, "shop/zz selects shop/api": 0,
			"shop/web spec.egress[0]": 0, "shop/web spec.egress[1]": 2 * pings, // and the answers
			"shop/api spec.ingress[0]": 2 * pings, "shop/api spec.ingress[1]": 0,
			"shop/web-receives spec.ingress[0]": 0, "shop/zz spec.ingress[0]": 0,
			"shop/web egress": pings, "shop/web ingress": 0, "shop/api ingress": pings,
		},
		"node/n2": {"ops/closed selects ops/prom": 0, "shop/all-closed selects shop/db": 0, "ops/prom ingress": pings, "shop/db ingress": 0},
	} {
		// Open vSwitch adds up what its cache has forwarded now and then.
		eventually(t, "the counters of "+place, func() error {
			if got := counted(t, l, place); fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("got %v, want %v", got, want)
			}
			return nil
		})
	}
	if got := counted(t, l, "node/n1", "shop/web"); len(got) != 8 || got["shop/web egress"] != pings {
		t.Errorf("of shop/web: %v", got)
	}
	text, _ := ctl(t, l, "node/n1", "policies", "shop/api")
	want := `POLICY           SELECTS     INGRESS  EGRESS  PODS
shop/all-closed  everything  nothing  -       shop/api,shop/web
shop/api         app=api     2 rules  -       shop/api
shop/zz          app=api     1 rule   -       shop/api

RULE                      PACKETS
shop/api spec.ingress[0]  6
shop/api spec.ingress[1]  0
shop/zz spec.ingress[0]   0

POD       EGRESS DROPPED  INGRESS DROPPED
shop/api  -               3
`
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if text, status := ctl(t, l, "node/n1", "policies", "ops/dns"); status != 0 || text != "node n1: no NetworkPolicy selects ops/dns\n" {
		t.Errorf("status %d: %s", status, text)
	}
}
