package plugging

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/types"
)

// buckets are the upper bounds of the histograms, in seconds.
var buckets = []float64{.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 10}

// Metrics are what the verbs took, in whole and by phase.
type Metrics struct {
	mu   sync.Mutex
	took map[series]*histogram
	// failed counts by verb and error code.
	failed map[failure]uint64
}

// series is a verb and one of its phases, or "all".
type series struct{ verb, phase string }

type failure struct {
	verb string
	code uint
}

type histogram struct {
	counts []uint64 // by bucket, not added up
	sum    float64  // seconds
	count  uint64
}

func newMetrics() *Metrics {
	return &Metrics{took: map[series]*histogram{}, failed: map[failure]uint64{}}
}

// note takes in a request that is done.
func (m *Metrics) note(verb string, took time.Duration, parts *phases, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		code := types.ErrInternal
		if e := new(types.Error); errors.As(err, &e) {
			code = e.Code
		}
		m.failed[failure{verb, code}]++
		return
	}
	m.observe(series{verb, "all"}, took)
	for phase, took := range parts.all() {
		m.observe(series{verb, phase}, took)
	}
}

func (m *Metrics) observe(s series, took time.Duration) {
	h := m.took[s]
	if h == nil {
		h = &histogram{counts: make([]uint64, len(buckets))}
		m.took[s] = h
	}
	h.sum += took.Seconds()
	h.count++
	if i, _ := slices.BinarySearch(buckets, took.Seconds()); i < len(buckets) {
		h.counts[i]++
	}
}

// Write writes them in Prometheus' text format.
func (m *Metrics) Write(w io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &lines{w: w}
	out.line("# HELP sluice_cni_phase_seconds How long a CNI verb that succeeded took in the agent (phase all), and its parts, some of which run at the same time.")
	out.line("# TYPE sluice_cni_phase_seconds histogram")
	for _, s := range slices.SortedFunc(maps.Keys(m.took), func(a, b series) int { return cmp.Or(cmp.Compare(a.verb, b.verb), cmp.Compare(a.phase, b.phase)) }) {
		h, sum := m.took[s], uint64(0)
		labels := fmt.Sprintf("verb=%q,phase=%q", s.verb, s.phase)
		for i, bound := range buckets {
			sum += h.counts[i]
			out.line("sluice_cni_phase_seconds_bucket{%s,le=%q} %d", labels, strconv.FormatFloat(bound, 'g', -1, 64), sum)
		}
		out.line(`sluice_cni_phase_seconds_bucket{%s,le="+Inf"} %d`, labels, h.count)
		out.line("sluice_cni_phase_seconds_sum{%s} %g", labels, h.sum)
		out.line("sluice_cni_phase_seconds_count{%s} %d", labels, h.count)
	}
	out.line("# HELP sluice_cni_failures_total CNI requests that failed, by the error's code.")
	out.line("# TYPE sluice_cni_failures_total counter")
	for _, f := range slices.SortedFunc(maps.Keys(m.failed), func(a, b failure) int { return cmp.Or(cmp.Compare(a.verb, b.verb), cmp.Compare(a.code, b.code)) }) {
		out.line(`sluice_cni_failures_total{verb=%q,code="%d"} %d`, f.verb, f.code, m.failed[f])
	}
	return out.err
}

// lines writes lines and keeps the first error.
type lines struct {
	w   io.Writer
	err error
}

func (l *lines) line(format string, args ...any) {
	if l.err == nil {
		_, l.err = fmt.Fprintf(l.w, format+"\n", args...)
	}
}
