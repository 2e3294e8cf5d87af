package host

import (
	"maps"
	"slices"
	"time"
)

// What was put right QuarrelTimes within quarrelSpan is a quarrel with somebody else, who
// will not give in either.
const (
	QuarrelTimes = 3
	quarrelSpan  = 5 * time.Minute
)

// contest remembers when what was put right.
type contest struct{ times map[string][]time.Time }

// note takes what was put right now.
func (c *contest) note(now time.Time, what []string) {
	if c.times == nil {
		c.times = map[string][]time.Time{}
	}
	for _, w := range what {
		c.times[w] = append(c.times[w], now)
		c.times[w] = c.times[w][max(0, len(c.times[w])-QuarrelTimes):]
	}
}

// quarrels are what was put right again and again, sorted.
func (c *contest) quarrels(now time.Time) []string {
	var out []string
	for _, w := range slices.Sorted(maps.Keys(c.times)) {
		times := c.times[w]
		switch {
		case now.Sub(times[len(times)-1]) > quarrelSpan:
			delete(c.times, w)
		case len(times) == QuarrelTimes && now.Sub(times[0]) <= quarrelSpan:
			out = append(out, w)
		}
	}
	return out
}

// Quarrels are what was put right again and again of late, in words: somebody else
// wants it otherwise.
func (h *Host) Quarrels() []string { return h.contest.quarrels(time.Now()) }
