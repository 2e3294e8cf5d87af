package policies_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
	"github.com/sluice-cni/sluice/test/lab/examples/policies"
)

func TestEachRecipeDoesWhatItsTableSays(t *testing.T) {
	recipes, err := policies.Recipes()
	if err != nil {
		t.Fatal(err)
	}
	if len(recipes) < 20 {
		t.Errorf("%d recipes", len(recipes))
	}
	for _, r := range recipes {
		t.Run(r.Name, func(t *testing.T) {
			if n := len(r.Expect); n == 0 || n%42 != 0 { // six pods and outside, each to the others
				t.Errorf("%d cells, not all pairs of every port", n)
			}
			s := cluster(t, r.Manifests)
			for _, p := range s.NetworkPolicies {
				if p.Fault != "" {
					t.Error(p.Name, p.Fault)
				}
			}
			for _, e := range r.Expect {
				number, protocol, _ := strings.Cut(e.Port, "/")
				port, err := strconv.ParseUint(number, 10, 16)
				if err != nil {
					t.Fatal(err)
				}
				v := verdict.Judge(s, verdict.Connection{
					Source: address(t, s, e.From), Destination: address(t, s, e.To), Protocol: state.Protocol(protocol), Port: uint16(port),
				})
				if v.Allowed != e.Allowed {
					t.Errorf("%s to %s %s: allowed %v, not %v: egress: %s; ingress: %s", e.From, e.To, e.Port, v.Allowed, e.Allowed, v.Egress.Reason, v.Ingress.Reason)
				}
			}
		})
	}
}

// cluster is the recipes' cluster with these policies, its pods with addresses.
func cluster(t *testing.T, recipe []byte) state.State {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string][]byte{"cluster.yaml": policies.Cluster(), "recipe.yaml": recipe} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := manifests.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := c.State("n1")
	next := map[string]netip.Addr{"n1": netip.MustParseAddr("10.244.1.2"), "n2": netip.MustParseAddr("10.244.2.2")}
	for i := range s.Pods {
		p := &s.Pods[i]
		p.Addresses = []netip.Addr{next[p.Node]}
		next[p.Node] = next[p.Node].Next()
	}
	return s
}

func address(t *testing.T, s state.State, end string) netip.Addr {
	t.Helper()
	if end == "outside" {
		return netip.MustParseAddr("10.9.0.250")
	}
	for _, p := range s.Pods {
		if p.Namespace+"/"+p.Name == end {
			return p.Addresses[0]
		}
	}
	t.Fatalf("there is no pod %s", end)
	return netip.Addr{}
}
