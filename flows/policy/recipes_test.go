package policy_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
	"github.com/sluice-cni/sluice/test/lab/examples/policies"
)

// TestRecipesCompiled: the flows of both nodes, each judging its own pods, do what the recipe's
// table says.
func TestRecipesCompiled(t *testing.T) {
	recipes, err := policies.Recipes()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recipes {
		t.Run(r.Name, func(t *testing.T) {
			objects := recipe(t, r.Manifests)
			nodes := map[string]machine{}
			states := map[string]state.State{}
			for _, name := range []string{"n1", "n2"} {
				s := objects
				s.Node = name
				s.Attachments = render.Attachments(s)
				states[name], nodes[name] = s, newMachine(policy.Compile(s).Flows())
			}
			for _, e := range r.Expect {
				number, protocol, _ := strings.Cut(e.Port, "/")
				port, err := strconv.ParseUint(number, 10, 16)
				if err != nil {
					t.Fatal(err)
				}
				c := verdict.Connection{Source: addressOf(t, objects, e.From), Destination: addressOf(t, objects, e.To), Protocol: state.Protocol(protocol), Port: uint16(port)}
				passes := true
				for name, m := range nodes {
					from, to := at(states[name], c.Source), at(states[name], c.Destination)
					for _, stage := range []string{"new", "known", "reply"} {
						if _, ok := m.run(newPacket(c, from, to, stage), flows.EgressAdmin); !ok {
							passes = false
						}
					}
				}
				if passes != e.Allowed {
					t.Errorf("%s to %s %s passes: %v", e.From, e.To, e.Port, passes)
				}
			}
		})
	}
}

// recipe is the recipes' cluster with these policies, on two nodes, its pods with addresses.
func recipe(t *testing.T, text []byte) state.State {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string][]byte{"cluster.yaml": policies.Cluster(), "recipe.yaml": text} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := manifests.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := c.State("")
	for i, name := range []string{"n1", "n2"} {
		cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i + 1), 0}), 24)
		s.Nodes = append(s.Nodes, state.Node{Name: name, PodCIDRs: []netip.Prefix{cidr}})
		next := cidr.Addr().Next()
		for j := range s.Pods {
			if s.Pods[j].Node == name {
				next = next.Next()
				s.Pods[j].Addresses = []netip.Addr{next}
			}
		}
	}
	return s
}

func addressOf(t *testing.T, s state.State, name string) netip.Addr {
	t.Helper()
	if name == "outside" {
		return netip.MustParseAddr("10.9.0.250")
	}
	i := slices.IndexFunc(s.Pods, func(p state.Pod) bool { return p.Namespace+"/"+p.Name == name })
	if i < 0 {
		t.Fatalf("there is no pod %s", name)
	}
	return s.Pods[i].Addresses[0]
}

// at is an address as the state's node sees it.
func at(s state.State, a netip.Addr) endpoint {
	for _, l := range s.Attachments {
		if slices.Contains(l.Addresses, a) {
			return endpoint{a, l.OFPort}
		}
	}
	return endpoint{a, remote}
}
