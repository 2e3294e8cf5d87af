package manifests_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/manifests"
	"github.com/sluice-cni/sluice/flows/state"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	tmp := filepath.Join(dir, ".tmp-"+name)
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
	return path
}

const cluster = `# a comment before the first document
---
apiVersion: v1
kind: Node
metadata: {name: n1, creationTimestamp: "2026-01-02T03:04:05Z"}
spec: {podCIDRs: [10.244.1.0/24]}
status:
  addresses: [{type: Hostname, address: n1}, {type: InternalIP, address: 10.9.0.1}]
  conditions: [{type: Ready, status: "False"}]
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
- {apiVersion: v1, kind: Pod, metadata: {name: cart, namespace: shop}, spec: {nodeName: n1}, status: {phase: Running, podIPs: [{ip: 10.244.1.2}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: not-ours}
`

func TestOrdinaryYAMLIsRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "all.yaml", cluster)
	write(t, dir, "notes.txt", "not read")
	c, err := manifests.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := source.Objects{
		Nodes: []state.Node{{
			Name: "n1", Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
			Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Unix(),
		}},
		Namespaces: []state.Namespace{{Name: "shop", Labels: map[string]string{"team": "a", state.NamespaceNameLabel: "shop"}}},
		Pods:       []state.Pod{{Namespace: "shop", Name: "cart", Node: "n1", Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.2")}}},
	}
	if d := cmp.Diff(want, c.Objects, equal...); d != "" {
		t.Error(d)
	}
}

var equal = []cmp.Option{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func TestWhatCannotBeReadIsNamedWithFileAndLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"YAML that is none", "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: x\n", ":4: found character that cannot start any token"},
		{"YAML that is none, in the second document", "---\n# nothing\n---\nx: [\n", ":4: did not find expected node content"},
		{"a key twice", "apiVersion: v1\nkind: Namespace\nkind: Pod\nmetadata: {name: x}\n", `:3: key "kind" already set in map`},
		{"no kind", "---\napiVersion: v1\nmetadata: {name: x}\n", ":2: is no Kubernetes object"},
		{"no name", "apiVersion: v1\nkind: Pod\n", ":1: Pod has no metadata.name"},
		{"a field of the wrong type", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {hostNetwork: maybe}\n", ":1: Pod x: "},
		{"a podCIDR without its length", "apiVersion: v1\nkind: Node\nmetadata: {name: n9}\nspec: {podCIDRs: [10.1.0.0]}\n", `:1: Node n9: node "n9": spec.podCIDRs: "10.1.0.0" is no CIDR`},
		{"a podCIDR with host bits", "apiVersion: v1\nkind: Node\nmetadata: {name: n9}\nspec: {podCIDRs: [10.1.0.1/24]}\n", `expected "10.1.0.0/24"`},
		{"an address that is none", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nstatus: {podIPs: [{ip: here}]}\n", `"here" is no address`},
		{"one object twice", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", ":5: Namespace x is already defined at "},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, t.TempDir(), "bad.yaml", c.text)
			_, err := manifests.Read(path)
			if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s…%s", err, path, c.want)
			}
		})
	}
}

// TestPrintedObjectsReadBack: what source.Manifests prints is read to the same objects.
func TestPrintedObjectsReadBack(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "all.yaml", cluster)
	c, err := manifests.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.Pods = append(c.Pods, state.Pod{Namespace: "shop", Name: "job", Node: "n1", Finished: true, Deleting: true, HostNetwork: true})
	c.Nodes = append(c.Nodes, state.Node{Name: "n2", Ready: true, Deleting: true, Created: 5, Labels: map[string]string{"zone": "a"}})
	readsBack(t, c.Objects)
}

func TestADirectoryIsFollowedAndItsLastGoodStateKept(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := filepath.Join(t.TempDir(), "later")
	d := manifests.NewDir(dir, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	until := func(what string, ok func(source.Snapshot) bool) source.Snapshot {
		t.Helper()
		end := time.After(20 * time.Second)
		for {
			if s := d.Snapshot(); ok(s) {
				return s
			}
			select {
			case <-d.Changed():
			case <-end:
				t.Fatalf("%s: not in time: %+v", what, d.Snapshot())
			}
		}
	}
	until("a directory that is not there is an error", func(s source.Snapshot) bool { return !s.Synced && len(s.Errors) > 0 })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	until("it appears", func(s source.Snapshot) bool { return s.Synced && len(s.Errors) == 0 })
	write(t, dir, "a.yaml", cluster)
	good := until("a file appears", func(s source.Snapshot) bool { return len(s.Objects.Nodes) == 1 })
	if digest, err := manifests.Digest(dir); err != nil || good.Seen != digest || good.Version != digest {
		t.Errorf("seen %s, version %s, digest %s, %v", good.Seen, good.Version, digest, err)
	}
	write(t, dir, "b.yaml", "x: [\n")
	bad := until("a bad file appears", func(s source.Snapshot) bool { return len(s.Errors) > 0 })
	if bad.Version != good.Version || bad.Seen == good.Seen || len(bad.Objects.Nodes) != 1 || !strings.Contains(bad.Errors[0], "b.yaml:1") {
		t.Errorf("%+v", bad)
	}
	if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	until("it goes", func(s source.Snapshot) bool { return len(s.Errors) == 0 && s.Seen == good.Version })
	write(t, dir, "a.yaml", "")
	until("an empty file has no objects", func(s source.Snapshot) bool { return len(s.Objects.Nodes) == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
