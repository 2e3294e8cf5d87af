package main

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/cni/wire"
)

// BenchmarkExec compares an ADD that the agent answers at once with the least that a
// process costs, taking turns: milliseconds from start to exit, medians.
//
//	go test -run '^$' -bench Exec -benchtime 300x ./cmd/sluice-cni
func BenchmarkExec(b *testing.B) {
	socket := agent(b, func(context.Context, *wire.Request) (any, error) {
		return map[string]any{"cniVersion": "1.0.0", "ips": []string{}}, nil
	})
	input := b.TempDir() + "/conf"
	if err := os.WriteFile(input, []byte(config(socket)), 0o600); err != nil {
		b.Fatal(err)
	}
	programs := []struct {
		name, path string
		took       []time.Duration
	}{{name: "true", path: "/bin/true"}, {name: "VERSION", path: plugin}, {name: "ADD", path: plugin}}
	for b.Loop() {
		for i := range programs {
			p := &programs[i]
			began := time.Now()
			execute(b, p.path, input, variables(p.name))
			p.took = append(p.took, time.Since(began))
		}
	}
	var base float64
	for _, p := range programs {
		slices.Sort(p.took)
		median := p.took[len(p.took)/2].Seconds() * 1e3
		if p.name == "true" {
			base = median
		}
		b.ReportMetric(median, p.name+"-ms")
		b.ReportMetric(median/base, p.name+"/true")
	}
}

func execute(b *testing.B, path, input string, env []string) {
	in, err := os.Open(input)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	p, err := os.StartProcess(path, []string{path}, &os.ProcAttr{Env: env, Files: []*os.File{in, out, out}})
	if err != nil {
		b.Fatal(err)
	}
	if state, err := p.Wait(); err != nil || !state.Success() {
		b.Fatal(state, err)
	}
}
