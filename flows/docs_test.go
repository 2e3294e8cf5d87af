package flows_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows"
)

// TestTheDocsShowThePipeline: the page's table is the code's, number by number and
// word by word.
func TestTheDocsShowThePipeline(t *testing.T) {
	page, err := os.ReadFile("../docs/pipeline.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, tab := range flows.Pipeline {
		built := ""
		if tab.Built {
			built = "yes"
		}
		fmt.Fprintf(&want, "| %d | %s | %s | %s |\n", uint8(tab.ID), tab.Name, tab.Purpose, built)
	}
	if !strings.Contains(string(page), want.String()) {
		t.Errorf("docs/pipeline.md must have\n%s", want.String())
	}
}
