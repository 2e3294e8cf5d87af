package plugging

import (
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/sluice-cni/sluice/cni/wire"
)

// buckets are the upper bounds of the histograms, in seconds.
var buckets = []float64{.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 10}

// Metrics are what the verbs took, in whole and by phase. They are in a registry of
// their own: what libraries put in the default one is not shown.
type Metrics struct {
	registry *prometheus.Registry
	// took is by verb and phase, "all" among these; failed by verb and error code.
	took   *prometheus.HistogramVec
	failed *prometheus.CounterVec
}

func newMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sluice_cni_phase_seconds",
			Help:    "How long a CNI verb that succeeded took in the agent (phase all), and its parts, some of which run at the same time.",
			Buckets: buckets,
		}, []string{"verb", "phase"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_cni_failures_total", Help: "CNI requests that failed, by the error's code.",
		}, []string{"verb", "code"}),
	}
	m.registry.MustRegister(m.took, m.failed)
	return m
}

// note takes in a request that is done.
func (m *Metrics) note(verb string, took time.Duration, parts *phases, err error) {
	switch verb {
	case wire.Add, wire.Del, wire.Check, wire.Status, wire.GC:
	default:
		verb = "unknown" // whatever a client calls it: there are only so many series
	}
	if err != nil {
		code := types.ErrInternal
		if e := new(types.Error); errors.As(err, &e) {
			code = e.Code
		}
		m.failed.WithLabelValues(verb, strconv.FormatUint(uint64(code), 10)).Inc()
		return
	}
	m.took.WithLabelValues(verb, "all").Observe(took.Seconds())
	for phase, took := range parts.all() {
		m.took.WithLabelValues(verb, phase).Observe(took.Seconds())
	}
}

// Write writes them in Prometheus' text format.
func (m *Metrics) Write(w io.Writer) error {
	families, err := m.registry.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}
