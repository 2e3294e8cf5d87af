package agent

import (
	"strings"
	"testing"
)

func TestASwitchThatTakesNothingIsDeaf(t *testing.T) {
	for _, c := range []struct {
		name        string
		before, now upcalls
		deaf        bool
	}{
		{"nothing was handed to it", upcalls{27, 27}, upcalls{27, 27}, false},
		{"it took all", upcalls{27, 27}, upcalls{40, 27}, false},
		{"it took some", upcalls{0, 0}, upcalls{40, 39}, false},
		{"it took none", upcalls{100, 3}, upcalls{127, 30}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			why := deaf(c.before, c.now)
			if (why != "") != c.deaf {
				t.Errorf("says %q", why)
			}
			if c.deaf && (!strings.Contains(why, "27 packets") || !strings.Contains(why, "restart")) {
				t.Errorf("names neither what nor the cure: %q", why)
			}
		})
	}
}
