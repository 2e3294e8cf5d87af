package services

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/agent/reconcile"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

// cluster is one of n Services of ten backends each, as sources give it: each object of its own memory.
func cluster(n int) state.State {
	s := state.State{Node: "n1", Nodes: []state.Node{
		{Name: "n1", Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}},
	}}
	for i := range n {
		name := fmt.Sprintf("service-%04d", i)
		s.Services = append(s.Services, state.Service{
			Namespace: "bench", Name: name, Ports: []state.ServicePort{{Protocol: state.TCP, Port: 80}},
			ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(1 + i%250)})},
		})
		s.EndpointSlices = append(s.EndpointSlices, state.EndpointSlice{
			Namespace: "bench", Name: name + "-x", Service: name, Ports: []state.EndpointPort{{Protocol: state.TCP, Port: 8080}}, Endpoints: endpoints(i, 0),
		})
	}
	return s
}

// endpoints are ten addresses; another generation has another last one.
func endpoints(i, generation int) []state.Endpoint {
	var out []state.Endpoint
	for k := range 10 {
		a := 10*i + k
		if k == 9 {
			a += 100000 * (generation % 2)
		}
		out = append(out, state.Endpoint{Address: netip.AddrFrom4([4]byte{10, byte(128 + a/62500), byte(a / 250 % 250), byte(1 + a%250)}), Ready: true, Serving: true})
	}
	return out
}

func programmer(b *testing.B) *reconcile.Reconciler {
	b.Helper()
	ovs := ovstest.Start(b)
	ovs.Vsctl("add-br", render.Bridge, "--", "set", "bridge", render.Bridge, "datapath_type="+ovstest.Datapath(), "fail_mode=secure")
	r := reconcile.New(func(ctx context.Context) (openflow.Switch, error) {
		return openflow.Dial(ctx, ovs.MgmtSocket(render.Bridge), nil)
	}, slog.New(slog.DiscardHandler))
	b.Cleanup(r.Close)
	return r
}

// BenchmarkCold renders and programs Services into an empty switch.
func BenchmarkCold(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := cluster(n)
			for range b.N {
				b.StopTimer()
				r := programmer(b)
				b.StartTimer()
				began := time.Now()
				set := render.Tables(s).Set
				rendered := time.Since(began)
				if err := r.Apply(b.Context(), set, reconcile.LookAtAll); err != nil || len(r.Refused()) > 0 {
					b.Fatal(err, r.Refused())
				}
				b.ReportMetric(float64(rendered.Microseconds())/1000, "render-ms")
			}
		})
	}
}

// BenchmarkOneEndpoint changes one backend of one of 5,000 Services.
func BenchmarkOneEndpoint(b *testing.B) {
	const n = 5000
	r := programmer(b)
	s := cluster(n)
	var renderer render.Renderer
	if err := r.Apply(b.Context(), renderer.Render(s).Set, reconcile.LookAtAll); err != nil {
		b.Fatal(err)
	}
	var rendering time.Duration
	var worst []time.Duration
	for i := 0; b.Loop(); i++ {
		k := i * 997 % n
		s.EndpointSlices = append([]state.EndpointSlice(nil), s.EndpointSlices...)
		s.EndpointSlices[k].Endpoints = endpoints(k, 1+i/n)
		began := time.Now()
		set := renderer.Render(s).Set
		rendering += time.Since(began)
		if err := r.Apply(b.Context(), set, reconcile.Trust); err != nil {
			b.Fatal(err)
		}
		worst = append(worst, time.Since(began))
	}
	b.ReportMetric(float64(rendering.Microseconds())/1000/float64(len(worst)), "render-ms/op")
	b.ReportMetric(float64(percentile(worst, 99).Microseconds())/1000, "p99-ms")
}

func percentile(list []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)*p/100]
}
