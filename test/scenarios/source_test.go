package scenarios

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/lab"
)

// takeAway moves a node's manifests elsewhere, with their directory, and puts an empty one
// in its place if that is what the source is to answer. Back brings them back.
func takeAway(t *testing.T, n lab.NodeListing, empty bool) (back func()) {
	t.Helper()
	aside := n.ManifestsDir + ".aside"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Rename(n.ManifestsDir, aside))
	if empty {
		must(os.Mkdir(n.ManifestsDir, 0o700))
	}
	return func() {
		t.Helper()
		must(os.RemoveAll(n.ManifestsDir))
		must(os.Rename(aside, n.ManifestsDir))
	}
}

// unreadable waits until the agent says that its input cannot be read, or can again.
func unreadable(t *testing.T, n lab.NodeListing, want bool) (since time.Time) {
	t.Helper()
	eventually(t, fmt.Sprintf("the input is unreadable: %v", want), func() error {
		s, err := apiStatus(n)
		if err != nil {
			return err
		}
		since = s.Input.UnreadableSince
		if since.IsZero() == want {
			return fmt.Errorf("since %s, problems %q", since, s.Problems)
		}
		if want && !slices.ContainsFunc(s.Problems, func(p string) bool { return strings.Contains(p, "the last good state stays in force") }) {
			return fmt.Errorf("problems %q", s.Problems)
		}
		return nil
	})
	return since
}

// TestTheSourceIsAwayOrEmpty: an agent whose source cannot be read, or answers with
// nothing, while it runs or when it starts, keeps the last known state in force, mends
// what others break of it, and says since when.
func TestTheSourceIsAwayOrEmpty(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	n1 := node(t, l, "n1")
	want := dumpFlows(t, l, n1)
	bridge := "unix:" + n1.OVSRunDir + "/br-sluice.mgmt"
	for _, c := range []struct {
		name           string
		empty, restart bool
	}{
		{"away while the agent runs", false, false},
		{"empty while the agent runs", true, false},
		{"away when the agent starts", false, true},
		{"empty when the agent starts", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.restart {
				if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			back := takeAway(t, n1, c.empty)
			if c.restart {
				// It is up when it serves, and it serves with what it remembers.
				if err := l.Start(testContext(t), "n1", lab.Agent); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Logf("start: %v", err)
				}
			}
			if since := unreadable(t, n1, true); since.Before(began) {
				t.Errorf("unreadable since %s, before it was, %s", since, began)
			}
			if now := dumpFlows(t, l, n1); now != want {
				t.Errorf("the flows are\n%s\nand were\n%s", now, want)
			}
			reached(t, l, "a1", "a2")
			ofctl(t, l, "node/n1", "del-flows", bridge)
			within(t, bound, "what somebody deletes comes back", func() error {
				if now := dumpFlows(t, l, n1); now != want {
					return errors.New("they are\n" + now)
				}
				return nil
			})
			text := on(t, l, "node/n1", executable("sluicectl"), "status")
			if !strings.Contains(text, "cannot be read since "+time.Now().Format("2006-")) {
				t.Errorf("status says:\n%s", text)
			}
			back()
			unreadable(t, n1, false)
			within(t, bound, "what is there again is in force", func() error {
				if s := statusOf(t, n1); s.Input.Seen != s.Input.Installed || len(s.Problems) > 0 {
					return fmt.Errorf("%+v, problems %q", s.Input, s.Problems)
				}
				return nil
			})
			reached(t, l, "a1", "a2")
		})
	}
	if _, err := os.Stat(filepath.Clean(n1.ManifestsDir + ".aside")); err == nil {
		t.Error("the manifests were not put back")
	}
}
