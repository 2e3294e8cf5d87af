package flows_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows"
)

// FuzzParse: whatever is read is written so that it is read the same again.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"render/testdata/*.flows", "../ovs/openflow/testdata/corpus/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				f.Add(line)
			}
		}
	}
	f.Fuzz(func(t *testing.T, line string) {
		if flow, _, err := flows.Parse(line); err == nil {
			again, _, err := flows.Parse(flow.String())
			if err != nil || !again.Equal(flow) {
				t.Fatalf("%q is read as\n%v, which is read as\n%v: %v\n%#v\n%#v", line, flow, again, err, flow, again)
			}
		}
		if group, err := flows.ParseGroup(line); err == nil {
			again, err := flows.ParseGroup(group.String())
			if err != nil || !again.Equal(group) {
				t.Fatalf("%q is read as\n%v, which is read as\n%v: %v", line, group, again, err)
			}
		}
	})
}
