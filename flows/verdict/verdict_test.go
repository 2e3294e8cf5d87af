package verdict_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
)

func TestClauses(t *testing.T) {
	for _, c := range clauses {
		t.Run(c.says, func(t *testing.T) {
			s := read(t, "testdata/cluster.yaml", policies(t, c.policies))
			for line := range strings.Lines(c.follows) {
				f := strings.Fields(line)
				if len(f) != 5 || f[0] != "allowed" && f[0] != "dropped" {
					t.Fatalf("what is %q?", line)
				}
				ask := connection(t, s, f[1], f[3], f[4])
				if v := verdict.Judge(s, ask); v.Allowed != (f[0] == "allowed") {
					t.Errorf("%s is not so: egress: %s; ingress: %s", strings.TrimSpace(line), v.Egress.Reason, v.Ingress.Reason)
				}
			}
		})
	}
}

// policies writes lines of a namespace and a spec as manifests, named p0, p1, and so on.
func policies(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		namespace, spec, _ := strings.Cut(strings.TrimSpace(line), " ")
		fmt.Fprintf(&out, "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p%d, namespace: %s}\nspec: %s\n", n, namespace, spec)
		n++
	}
	path := filepath.Join(t.TempDir(), "policies.yaml")
	if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, files ...string) state.State {
	t.Helper()
	c, err := manifests.Read(files...)
	if err != nil {
		t.Fatal(err)
	}
	return c.State("n1")
}

// connection reads "shop/web -> shop/db 80/TCP"; a pod stands for its first address.
func connection(t *testing.T, s state.State, from, to, port string) verdict.Connection {
	t.Helper()
	number, protocol, _ := strings.Cut(port, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return verdict.Connection{Source: address(t, s, from), Destination: address(t, s, to), Protocol: state.Protocol(protocol), Port: uint16(n)}
}

func address(t *testing.T, s state.State, text string) netip.Addr {
	t.Helper()
	if a, err := netip.ParseAddr(text); err == nil {
		return a
	}
	for _, p := range s.Pods {
		if p.Namespace+"/"+p.Name == text {
			return p.Addresses[0]
		}
	}
	t.Fatalf("there is no pod %s", text)
	return netip.Addr{}
}
