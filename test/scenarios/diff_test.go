package scenarios

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/test/lab"
)

// diff runs `sluicectl diff` on a node, and returns what it prints and its exit status.
func diff(t *testing.T, l *lab.Lab, place string, args ...string) (text string, status int) {
	t.Helper()
	out, err := l.Exec(testContext(t), place, append([]string{executable("sluicectl"), "diff"}, args...)...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}

// changed is a copy of a node's manifests in which a text is another.
func changed(t *testing.T, n lab.NodeListing, file, from, to string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(n.ManifestsDir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := strings.ReplaceAll(string(text), from, to)
	if next == string(text) {
		t.Fatalf("there is no %q in\n%s", from, text)
	}
	if err := os.WriteFile(path, []byte(next), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestADiffTellsWhatARunningNodeWillDo: the flows that it names, and no others, are those
// that change in the switch once its input is in force.
func TestADiffTellsWhatARunningNodeWillDo(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n1 := node(t, l, "n1")
	if text, status := diff(t, l, "node/n1", "-f", n1.ManifestsDir); status != 0 || text != "" {
		t.Errorf("nothing differs: status %d, %s", status, text)
	}
	const next = "10.9.0.22"
	text, status := diff(t, l, "node/n1", "-f", changed(t, n1, "node_n2.yaml", "10.9.0.2", next), "--node", "n1")
	if status != 1 || !strings.Contains(text, "# node n2: route changes from 10.244.2.0/24 by 10.9.0.2 to 10.244.2.0/24 by "+next) {
		t.Fatalf("status %d:\n%s", status, text)
	}
	var less, more []flows.Flow
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "-cookie=") {
			less = append(less, parse(t, line[1:])...)
		}
		if strings.HasPrefix(line, "+cookie=") {
			more = append(more, parse(t, line[1:])...)
		}
	}
	before := typed(t, l, n1)
	rewriteNode(t, l, "n2", []string{"n1"}, func(s string) string { return strings.ReplaceAll(s, "10.9.0.2", next) })
	ledTo(t, l, "n1", "10.244.2.0/24", next)
	after := typed(t, l, n1)
	sameFlows(t, "that go", without(before, after), less)
	sameFlows(t, "that come", without(after, before), more)
	if len(less) == 0 || len(more) == 0 {
		t.Error("nothing changed: that they are the same proves nothing")
	}
	rewriteNode(t, l, "n2", []string{"n1"}, func(s string) string { return strings.ReplaceAll(s, next, "10.9.0.2") })
	ledTo(t, l, "n1", "10.244.2.0/24", "10.9.0.2")
}

// without are the flows of a that b has not.
func without(a, b []flows.Flow) []flows.Flow {
	return slices.DeleteFunc(slices.Clone(a), func(f flows.Flow) bool { return slices.ContainsFunc(b, f.Equal) })
}

func sameFlows(t *testing.T, which string, got, want []flows.Flow) {
	t.Helper()
	for _, f := range without(got, want) {
		t.Errorf("a flow %s is not in the difference: %s", which, f)
	}
	for _, f := range without(want, got) {
		t.Errorf("the difference has a flow %s that does not: %s", which, f)
	}
}

// TestADiffThatCannotBeMadeSaysWhy, with the exit status of diff(1) for trouble.
func TestADiffThatCannotBeMadeSaysWhy(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1})
	n1 := node(t, l, "n1")
	broken := changed(t, n1, "node_n1.yaml", "kind: Node", "kind: [Node")
	other := changed(t, n1, "node_n1.yaml", "name: n1", "name: n7")
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"YAML that cannot be read", []string{"-f", broken}, filepath.Join(broken, "node_n1.yaml") + ":"},
		{"a directory that is not there", []string{"-f", "/no/such/directory"}, "/no/such/directory"},
		{"no directory at all", nil, "needs -f"},
		{"YAML without this node", []string{"-f", other}, "n7"},
		{"another node than the agent's", []string{"-f", n1.ManifestsDir, "--node", "n2"}, `node "n1"'s, not "n2"'s`},
		{"a form that nobody knows", []string{"-f", n1.ManifestsDir, "-o", "xml"}, "xml"},
		{"no agent", []string{"-f", n1.ManifestsDir, "--socket", "/no/agent.sock"}, "no agent at /no/agent.sock"},
		{"an argument that nobody knows", []string{"-f", n1.ManifestsDir, "--what"}, "--what"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if text, status := diff(t, l, "node/n1", c.args...); status != 2 || !strings.Contains(text, c.want) {
				t.Errorf("status %d, %s", status, text)
			}
		})
	}
}
