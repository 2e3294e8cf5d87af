package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/test/golden"
)

// sluicectl runs it and returns what it prints and its exit status.
func sluicectl(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, err bytes.Buffer
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&err)
	status = run(t.Context(), cmd, &err)
	return out.String(), err.String(), status
}

// fakeAgent answers /state only.
type fakeAgent struct {
	api.Agent
	state state.State
}

func (a fakeAgent) State() state.State { return a.state }

// agent serves until the test ends, and returns its socket.
func agent(t *testing.T, s state.State) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "diff") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, l, fakeAgent{state: s}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return socket
}

// running is the state of n1 as an agent has it: the objects of testdata/old, and a cable
// of which they know nothing.
func running(t *testing.T) state.State {
	t.Helper()
	c, err := manifests.Read("testdata/old")
	if err != nil {
		t.Fatal(err)
	}
	s := c.State("n1")
	s.Facts = state.Facts{TunnelAddress: netip.MustParseAddr("10.9.0.1"), UnderlayMTU: 1500, Datapath: "system"}
	s.Attachments = []state.Attachment{{
		Network: "sluice", ContainerID: "c1", IfName: "eth0", PodNamespace: "default", PodName: "a",
		OFPort: 300, MAC: "0a:58:0a:f4:01:02", Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.2")},
	}}
	return s
}

func TestDiffOfDirectories(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		status int
	}{
		{"all", nil, 1},
		{"n1", []string{"--node", "n1"}, 1},
		{"json", []string{"-o", "json"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"diff", "--from", "testdata/old", "-f", "testdata/new"}, c.args...)
			stdout, stderr, status := sluicectl(t, args...)
			if status != c.status || stderr != "" {
				t.Errorf("exit status %d, want %d: %s", status, c.status, stderr)
			}
			golden.Check(t, "testdata/diff-"+c.name+".golden", stdout)
		})
	}
}

func TestDiffOfWhatIsAlike(t *testing.T) {
	stdout, stderr, status := sluicectl(t, "diff", "--from", "testdata/old", "-f", "testdata/old")
	if status != 0 || stdout != "" || stderr != "" {
		t.Errorf("exit status %d: %s%s", status, stdout, stderr)
	}
	stdout, _, status = sluicectl(t, "diff", "--from", "testdata/old", "-f", "testdata/old", "-o", "json")
	var list struct{ Nodes []struct{ Owners []any } }
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || status != 0 || len(list.Nodes) != 2 || list.Nodes[0].Owners == nil {
		t.Errorf("exit status %d, %v: %s", status, err, stdout)
	}
}

func TestDiffOfTheRunningNode(t *testing.T) {
	socket := agent(t, running(t))
	stdout, stderr, status := sluicectl(t, "diff", "--socket", socket, "-f", "testdata/new")
	if status != 1 || stderr != "" {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	golden.Check(t, "testdata/diff-running.golden", stdout)
	// Its cables and facts are its own: the same objects change nothing.
	stdout, stderr, status = sluicectl(t, "diff", "--socket", socket, "-f", "testdata/old", "--node", "n1")
	if status != 0 || stdout != "" {
		t.Errorf("exit status %d: %s%s", status, stdout, stderr)
	}
}

// TestDiffTellsWhatAPolicyChanges on the running node, when it comes and when it goes.
func TestDiffTellsWhatAPolicyChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	policy := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed, namespace: default}\nspec: {podSelector: {}}\n"
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, status := sluicectl(t, "diff", "--socket", agent(t, running(t)), "-f", "testdata/old", "-f", file)
	if status != 1 || !strings.Contains(stdout, "\n+cookie=") || strings.Contains(stdout, "\n-cookie=") {
		t.Errorf("it comes: exit status %d: %s%s", status, stdout, stderr)
	}
	with := running(t)
	with.NetworkPolicies = []state.NetworkPolicy{{Namespace: "default", Name: "closed"}}
	stdout, stderr, status = sluicectl(t, "diff", "--socket", agent(t, with), "-f", "testdata/old")
	if status != 1 || strings.Contains(stdout, "\n+cookie=") || !strings.Contains(stdout, "\n-cookie=") {
		t.Errorf("it goes: exit status %d: %s%s", status, stdout, stderr)
	}
}

// TestDiffWithASavedState: what `sluicectl state` printed stands for the running node.
func TestDiffWithASavedState(t *testing.T) {
	socket := agent(t, running(t))
	text, stderr, status := sluicectl(t, "state", "--socket", socket)
	if status != 0 {
		t.Fatal(stderr)
	}
	saved := filepath.Join(t.TempDir(), "state.yaml")
	if err := os.WriteFile(saved, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	live, _, _ := sluicectl(t, "diff", "--socket", socket, "-f", "testdata/new")
	replayed, stderr, status := sluicectl(t, "diff", "--from", saved, "-f", "testdata/new", "--node", "n1")
	if status != 1 {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	if changes(live) != changes(replayed) {
		t.Errorf("live:\n%s\nreplayed:\n%s", live, replayed)
	}
}

// changes are the lines below the names of the sides.
func changes(text string) string {
	_, text, _ = strings.Cut(text, "+++")
	_, text, _ = strings.Cut(text, "\n")
	return text
}

func TestDiffInTrouble(t *testing.T) {
	socket := agent(t, running(t))
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no -f", nil, "diff needs -f"},
		{"an unknown flag", []string{"--nod", "n1"}, "unknown flag: --nod"},
		{"an argument", []string{"testdata/new"}, "unknown command"},
		{"an unknown output", []string{"-f", "testdata/new", "-o", "xml"}, `-o "xml": expected json`},
		{"no such directory", []string{"-f", "testdata/none"}, "testdata/none: no such file"},
		{
			"a field that cannot be read", []string{"-f", "testdata/bad", "--from", "testdata/old"},
			`testdata/bad/node.yaml:1: Node n1: node "n1": spec.podCIDRs: "10.244.1.0" is no CIDR`,
		},
		{"the other side's", []string{"-f", "testdata/old", "--from", "testdata/bad"}, "testdata/bad/node.yaml:1:"},
		{
			"an unknown node", []string{"-f", "testdata/new", "--from", "testdata/old", "--node", "n9"},
			`there is no Node "n9" in testdata/old testdata/new; Nodes there: n1, n2`,
		},
		{"no Node of the agent's name", []string{"-f", "testdata/new/pods.yaml"}, `there is no Node "n1" in testdata/new/pods.yaml; Nodes there: none`},
		{"another node than the agent's", []string{"-f", "testdata/new", "--node", "n2"}, `the agent here is node "n1"'s, not "n2"'s`},
		{"no agent", []string{"-f", "testdata/new", "--socket", "testdata/none"}, "is sluice-agent running on this node?"},
		{"no agent, and what to do", []string{"-f", "testdata/new", "--socket", "testdata/none"}, "--from OLD compares two directories without an agent"},
		{"an agent without state", []string{"-f", "testdata/new", "--socket", agent(t, state.State{})}, "the agent has no state yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, status := sluicectl(t, append([]string{"diff", "--socket", socket}, c.args...)...)
			if status != 2 || stdout != "" || !strings.Contains(stderr, c.want) {
				t.Errorf("exit status %d, want 2; stdout %q, stderr %q, want %q", status, stdout, stderr, c.want)
			}
		})
	}
}

func TestOtherCommandsFailWithStatus1(t *testing.T) {
	_, stderr, status := sluicectl(t, "render", "-f", "testdata/old", "--node", "n9")
	if status != 1 || !strings.Contains(stderr, "Nodes there: n1, n2") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
}

func TestANodeThatComesOrGoesIsWholeInTheDiff(t *testing.T) {
	one := filepath.Join(t.TempDir(), "n1.yaml")
	text, err := os.ReadFile("testdata/old/nodes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "---\n")
	if err := os.WriteFile(one, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, _, status := sluicectl(t, "diff", "--from", one, "-f", "testdata/old/nodes.yaml", "--node", "n2")
	if status != 1 || !strings.Contains(stdout, "# pipeline: ") || strings.Contains(stdout, "\n-") {
		t.Errorf("exit status %d: %s", status, stdout)
	}
}
