package host

import (
	"slices"
	"testing"
	"time"
)

func TestWhatIsPutRightAgainAndAgainIsAQuarrel(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name  string
		times []int
		now   int
		want  bool
	}{
		{"once", []int{0}, 1, false},
		{"twice", []int{0, 1}, 2, false},
		{"three times within minutes", []int{0, 100, 299}, 300, true},
		{"three times within hours", []int{0, 100, 3600}, 3601, false},
		{"three times, and long ago", []int{0, 1, 2}, 3600, false},
		{"again and again", []int{0, 1, 2, 3, 4, 5}, 6, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b contest
			for _, s := range c.times {
				b.note(at(s), []string{"route", "only once"}[:1])
			}
			b.note(at(c.now), []string{"only once"})
			want := []string(nil)
			if c.want {
				want = []string{"route"}
			}
			if got := b.quarrels(at(c.now)); !slices.Equal(got, want) {
				t.Errorf("quarrels %q, want %q", got, want)
			}
		})
	}
}
