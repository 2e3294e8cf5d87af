package openflow_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// TestCorpus puts files of flows, written by hand for ovs-ofctl and made by render, into
// a switch: as ovs-ofctl reads them, and as we do. It holds the same then, and both say so.
func TestCorpus(t *testing.T) {
	noLeak(t)
	written, err := filepath.Glob("testdata/corpus/*.flows")
	if err != nil || len(written) < 8 {
		t.Fatalf("%d files: %v", len(written), err)
	}
	rendered, err := filepath.Glob("../../flows/render/testdata/*.flows")
	if err != nil || len(rendered) == 0 {
		t.Fatalf("%d rendered files: %v", len(rendered), err)
	}
	ovs, socket := bridge(t)
	ovs.Ofctl("add-meter", "br0", "meter=1,pktps,bands=type=drop,rate=1")
	c := dial(t, socket)
	for _, file := range append(written, rendered...) {
		if ovstest.Datapath() == "system" && answersND(t, file) {
			continue // the kernel's datapath cannot, and the pipeline does not
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".flows"), func(t *testing.T) {
			flowLines, groupLines := read(t, file)
			want := openflow.Change{
				Add: parse(t, flowLines, func(line string) (flows.Flow, error) {
					f, _, err := flows.Parse(line)
					return f, err
				}),
				PutGroups: parse(t, groupLines, flows.ParseGroup),
			}
			if want.PutGroups != nil {
				ovs.Ofctl("add-groups", "br0", write(t, groupLines))
			}
			ovs.Ofctl("--bundle", "add-flows", "br0", write(t, flowLines))
			said := saidByOvsOfctl(t, "ovs-ofctl", ovs.Ofctl("--no-names", "dump-flows", "br0"))
			holds(t, c, want)
			empty(t, c)

			apply(t, c, want)
			holds(t, c, want)
			equal(t, "ovs-ofctl's word of what we put in", saidByOvsOfctl(t, "we", ovs.Ofctl("--no-names", "dump-flows", "br0")), said)
			empty(t, c)
		})
	}
}

// answersND tells whether a file's flows write what only the userspace datapath lets them.
func answersND(t *testing.T, file string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "->nd_reserved")
}

// read gives the lines of a file, and of the one with its groups if there is one, without comments: a
// rendered file has its groups among its flows.
func read(t *testing.T, file string) (flowLines, groupLines []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	more, err := os.ReadFile(strings.TrimSuffix(file, "flows") + "groups")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text) + "\n" + string(more)) {
		switch line = strings.TrimSpace(line); {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "group_id="):
			groupLines = append(groupLines, line)
		default:
			flowLines = append(flowLines, line)
		}
	}
	return flowLines, groupLines
}

// parse reads each of some lines.
func parse[T any](t *testing.T, lines []string, one func(line string) (T, error)) (out []T) {
	t.Helper()
	for _, line := range lines {
		x, err := one(line)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	return out
}

// write puts lines into a file of the test's.
func write(t *testing.T, lines []string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// saidByOvsOfctl parses a dump and holds our words for each flow against it.
func saidByOvsOfctl(t *testing.T, who, dump string) (out []flows.Flow) {
	t.Helper()
	for line := range strings.Lines(dump) {
		if !strings.Contains(line, "actions=") {
			continue
		}
		f, _, err := flows.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		words := f.String()
		if head, _, _ := strings.Cut(line, "actions="); !strings.Contains(head, "priority=") { // ovs-ofctl leaves the default one out
			words = strings.Replace(strings.Replace(words, "priority=32768,", "", 1), "priority=32768", "", 1)
		}
		if its := counted.ReplaceAllString(strings.TrimSpace(line), ""); its != words {
			t.Errorf("put in by %s, ovs-ofctl says\n%s\nand we say\n%s", who, its, words)
		}
		out = append(out, f)
	}
	flows.Sort(out)
	return out
}

// holds compares what the switch holds; of flows with one key the last has stayed.
func holds(t *testing.T, c *openflow.Conn, want openflow.Change) {
	t.Helper()
	byKey := map[flows.Key]flows.Flow{}
	for _, f := range want.Add {
		byKey[f.Key()] = f
	}
	var stayed []flows.Flow
	for _, f := range byKey {
		stayed = append(stayed, f)
	}
	equal(t, "our dump", dumped(t, c), stayed)
	var got []flows.Group
	for _, g := range groups(t, c) {
		if g.Strange != "" {
			t.Errorf("strange: %s", g.Strange)
		}
		got = append(got, g.Group)
	}
	slices.SortFunc(got, flows.CompareGroups)
	slices.SortFunc(want.PutGroups, flows.CompareGroups)
	if !slices.EqualFunc(got, want.PutGroups, flows.Group.Equal) {
		t.Errorf("groups (-want +got):\n%s", cmp.Diff(groupLines(want.PutGroups), groupLines(got)))
	}
}

func groupLines(list []flows.Group) (out []string) {
	for _, g := range list {
		out = append(out, g.String())
	}
	return out
}

// empty takes all out.
func empty(t *testing.T, c *openflow.Conn) {
	t.Helper()
	change := openflow.Change{Remove: dump(t, c)}
	for _, g := range groups(t, c) {
		change.RemoveGroups = append(change.RemoveGroups, g.Group.ID)
	}
	apply(t, c, change)
}
