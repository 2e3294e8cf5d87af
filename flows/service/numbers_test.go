package service_test

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/flows/state"
)

// TestNumbersOfGroups with a hash of 2 bits: no two groups have one, and neither the order of the objects nor
// what was before matters.
func TestNumbersOfGroups(t *testing.T) {
	short := func(name string) uint32 {
		n := uint32(0)
		for _, c := range []byte(name) {
			n = n*31 + uint32(c)
		}
		return n & 3
	}
	clashes := false
	rapid.Check(t, func(t *rapid.T) {
		r := service.Resolver{Hash: short}
		for range rapid.IntRange(1, 4).Draw(t, "states") {
			s := state.State{Node: "n1"}
			for i, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}), 0, 6, rapid.ID[string]).Draw(t, "names") {
				s.Services = append(s.Services, state.Service{Name: name, ClusterIPs: addrs(fmt.Sprintf("10.96.0.%d", i)), Ports: []state.ServicePort{{Protocol: state.TCP, Port: 80}}})
				s.EndpointSlices = append(s.EndpointSlices, state.EndpointSlice{
					Name: name, Service: name, Ports: []state.EndpointPort{{Protocol: state.TCP, Port: 80}}, Endpoints: []state.Endpoint{{Address: addrs("10.244.1.2")[0], Ready: true}},
				})
			}
			got := r.Resolve(s)
			s.Services = rapid.Permutation(s.Services).Draw(t, "services")
			s.EndpointSlices = rapid.Permutation(s.EndpointSlices).Draw(t, "slices")
			alone := service.Resolver{Hash: short}
			if want := alone.Resolve(s); !reflect.DeepEqual(got, want) {
				t.Fatalf("after others:\n%+v\nalone:\n%+v", got, want)
			}
			clashes = clashes || !reflect.DeepEqual(got.Numbers, service.Numbers{})
			taken := map[uint32]bool{}
			for _, o := range got.Services {
				_, groups := o.Tables(got.Numbers)
				for _, g := range groups {
					if taken[g.ID] || g.ID == 0 {
						t.Fatalf("number %d is given twice, or is none", g.ID)
					}
					taken[g.ID] = true
				}
			}
		}
	})
	if !clashes {
		t.Error("no two groups had one hash: nothing was tried")
	}
}
