package openflow_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// TestMessagesPrintAlike holds what ovs-ofctl prints of our bytes, which no switch has
// seen, against our own words.
func TestMessagesPrintAlike(t *testing.T) {
	t.Run("every field", func(t *testing.T) { printAlike(t, t.TempDir(), everyField()) })
	t.Run("every action", func(t *testing.T) { printAlike(t, t.TempDir(), everyAction()) })
	dir := t.TempDir()
	t.Run("generated", rapid.MakeCheck(func(r *rapid.T) { printAlike(r, dir, genFlows(r)) }))
}

func printAlike(t rapid.TB, dir string, list []flows.Flow) {
	t.Helper()
	var stream []byte
	var want []string
	for i, f := range list {
		m, err := openflow.AddMessage(uint32(i), f)
		if err != nil {
			t.Fatal(err)
		}
		stream = append(stream, m...)
		want = append(want, asMessage(i, f))
	}
	file := filepath.Join(dir, "messages")
	if err := os.WriteFile(file, stream, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ovs-ofctl", "-O", "OpenFlow15", "ofp-parse", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(string(out)), "\n")); diff != "" {
		t.Errorf("ovs-ofctl prints our messages otherwise (-ours +its):\n%s", diff)
	}
}

// asMessage is a flow as ovs-ofctl prints a flow mod: what has a default is left out,
// and all but the table stands behind the match.
func asMessage(xid int, f flows.Flow) string {
	flags := flows.Flow{Flags: f.Flags}.String()
	flags = strings.TrimSuffix(strings.TrimPrefix(flags, "table=0, "), "priority=0 actions=drop")
	bare := flows.Flow{Priority: f.Priority, Match: f.Match, Actions: f.Actions}.String()
	match, actions, _ := strings.Cut(strings.TrimPrefix(bare, "table=0, "), " actions=")

	words := []string{fmt.Sprintf("OFPT_FLOW_MOD (OF1.5) (xid=%#x): ADD", xid)}
	add := func(format string, value, ordinary uint64) {
		if value != ordinary {
			words = append(words, fmt.Sprintf(format, value))
		}
	}
	add("table:%d", uint64(f.Table), 0)
	words = append(words, match)
	add("cookie:%#x", uint64(f.Cookie), 0)
	add("idle:%d", uint64(f.IdleTimeout), 0)
	add("hard:%d", uint64(f.HardTimeout), 0)
	add("importance:%d", uint64(f.Importance), 0)
	return strings.Join(words, " ") + " " + flags + "actions=" + actions
}
