package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/test/bench/figures"
)

func TestAPercentileIsASampleThatSoManyDoNotExceed(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[len(hundred)-1-i] = time.Duration(i+1) * time.Millisecond
	}
	for _, c := range []struct {
		samples []time.Duration
		p       int
		want    time.Duration
	}{
		{hundred, 50, 50 * time.Millisecond},
		{hundred, 99, 99 * time.Millisecond},
		{hundred[:60], 99, 100 * time.Millisecond}, // below 100 samples: the slowest
		{hundred[:1], 50, 100 * time.Millisecond},
	} {
		if got := figures.Percentile(c.samples, c.p); got != c.want {
			t.Errorf("p%d of %d samples is %v, want %v", c.p, len(c.samples), got, c.want)
		}
	}
}

func TestTheTableHasALineForEachFigure(t *testing.T) {
	b := &bench{contenders: []*contender{{name: "sluice"}, {name: "bridge"}, {name: "ptp"}}}
	took := func(ms int) []time.Duration { return []time.Duration{time.Duration(ms) * time.Millisecond} }
	b.add("add", "ADD", samples{took(5), took(20), took(10)}, 50, 99)
	b.figures = append(b.figures, newFigure("version", "VERSION, beside true", 50, took(3), "true", took(1)))
	var out strings.Builder
	if err := b.table(&out); err != nil {
		t.Fatal(err)
	}
	const want = `          milliseconds       sluice  bridge    ptp  to the faster
                   ADD  p50    5.00   20.00  10.00           0.50
                        p99    5.00   20.00  10.00           0.50
  VERSION, beside true  p50    3.00    1.00                  3.00
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestPhasesAreReadFromTheAgentsLog(t *testing.T) {
	verb, phases := parseRequest(`time=2026-11-25T02:51:02.676Z level=INFO msg="CNI request done" verb=ADD container=c1 ifname=eth0 took=5.2ms phases.cable=1.5ms phases.row=900µs`)
	want := map[string]time.Duration{"all": 5200 * time.Microsecond, "cable": 1500 * time.Microsecond, "row": 900 * time.Microsecond}
	if diff := cmp.Diff(want, phases); verb != "ADD" || diff != "" {
		t.Error(verb, diff)
	}
	if verb, _ := parseRequest(`time=2026-11-25T02:51:02.676Z level=INFO msg="bridge changed" took=5ms`); verb != "" {
		t.Errorf("another line is taken for a request, of verb %q", verb)
	}
}
