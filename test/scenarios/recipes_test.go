package scenarios

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/lab/examples/policies"
)

// recipeLab is a lab of the recipes' cluster: two nodes, and no policy yet.
func recipeLab(t *testing.T, families lab.Families) *lab.Lab {
	t.Helper()
	objects, err := lab.ParseObjects("cluster.yaml", policies.Cluster())
	if err != nil {
		t.Fatal(err)
	}
	return up(t, lab.Options{Nodes: 2, Objects: objects, Families: families})
}

// knownToBoth is known on both of a lab's nodes.
func knownToBoth(t *testing.T, l *lab.Lab, text string) {
	t.Helper()
	for _, name := range []string{"n1", "n2"} {
		known(t, node(t, l, name), text)
	}
}

// TestRecipesHoldForPackets: in a lab of the recipes' cluster, with each recipe in turn, exactly
// those reach each other of whom its table says so. What is asked from outside is left to
// the tests of the flows: a pod's address leads nowhere there.
func TestRecipesHoldForPackets(t *testing.T) {
	recipes, err := policies.Recipes()
	if err != nil {
		t.Fatal(err)
	}
	l := recipeLab(t, "")
	for _, r := range recipes {
		t.Run(r.Name, func(t *testing.T) {
			knownToBoth(t, l, string(r.Manifests))
			cells := 0
			for port, want := range tables(r) {
				cells += holdsFor(t, l, port, want)
			}
			if cells < 30 {
				t.Errorf("only %d pairs were tried", cells)
			}
		})
	}
}

// way is from whom to whom.
type way struct{ from, to string }

// tables are a recipe's expectations by port.
func tables(r policies.Recipe) map[string]map[way]bool {
	out := map[string]map[way]bool{}
	for _, e := range r.Expect {
		if e.From == "outside" {
			continue
		}
		if out[e.Port] == nil {
			out[e.Port] = map[way]bool{}
		}
		out[e.Port][way{e.From, e.To}] = e.Allowed
	}
	return out
}

// holdsFor probes one port and compares; it returns how many pairs were tried.
func holdsFor(t *testing.T, l *lab.Lab, port string, want map[way]bool) (cells int) {
	t.Helper()
	var number int
	var protocol string
	if _, err := fmt.Sscanf(strings.Replace(port, "/", " ", 1), "%d %s", &number, &protocol); err != nil {
		t.Fatalf("port %q: %v", port, err)
	}
	results, err := l.Probe(testContext(t), lab.ProbeRequest{Port: number, Protocol: strings.ToLower(protocol)})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		allowed, asked := want[way{r.From, r.To}]
		if !asked {
			continue
		}
		cells++
		if r.Reached != allowed {
			t.Errorf("%s to %s %s: reached %v, want %v (%s%s)", r.From, r.To, port, r.Reached, allowed, r.AnsweredBy, r.Error)
		}
	}
	return cells
}
