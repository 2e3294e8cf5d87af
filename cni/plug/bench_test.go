package plug_test

import (
	"testing"
	"time"

	"github.com/sluice-cni/sluice/cni/plug"
)

func BenchmarkPlug(b *testing.B) {
	pod := onHost(b)
	s := spec(pod)
	var create, configure, remove time.Duration
	for b.Loop() {
		began := time.Now()
		cable, err := plug.Create(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		created := time.Now()
		if err := cable.Configure(b.Context()); err != nil {
			b.Fatal(err)
		}
		configured := time.Now()
		if err := cable.Rollback(); err != nil {
			b.Fatal(err)
		}
		create, configure, remove = create+created.Sub(began), configure+configured.Sub(created), remove+time.Since(configured)
	}
	for unit, took := range map[string]time.Duration{"create-µs": create, "configure-µs": configure, "remove-µs": remove} {
		b.ReportMetric(float64(took.Microseconds())/float64(b.N), unit)
	}
}
