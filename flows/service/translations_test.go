package service_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/flows/state"
)

// dns is a state with one Service of UDP and TCP, both families, and the endpoints given.
func dns(endpoints ...state.Endpoint) state.State {
	s := state.State{Node: "n1", Services: []state.Service{{
		Namespace: "kube-system", Name: "dns", ClusterIPs: addrs("10.96.0.10", "fd00:96::a"),
		Ports: []state.ServicePort{{Name: "udp", Protocol: state.UDP, Port: 53}, {Name: "tcp", Protocol: state.TCP, Port: 53}},
	}}}
	for i, six := range []bool{false, true} {
		slice := state.EndpointSlice{
			Namespace: "kube-system", Name: fmt.Sprint(i), Service: "dns",
			Ports: []state.EndpointPort{{Name: "udp", Protocol: state.UDP, Port: 5353}, {Name: "tcp", Protocol: state.TCP, Port: 5353}},
		}
		for _, e := range endpoints {
			if e.Address.Is6() == six {
				slice.Endpoints = append(slice.Endpoints, e)
			}
		}
		s.EndpointSlices = append(s.EndpointSlices, slice)
	}
	return s
}

func at(address string) state.Endpoint {
	return state.Endpoint{Address: netip.MustParseAddr(address), Ready: true, Serving: true}
}

// translations are those that the tables of a state make, as text.
func translations(t *testing.T, s state.State) (out map[service.Translation]bool, text string) {
	t.Helper()
	r := service.Resolve(s)
	var list []flows.Flow
	var groups []flows.Group
	for _, o := range r.Services {
		f, g := o.Tables(r.Numbers)
		list, groups = append(list, f...), append(groups, g...)
	}
	out = service.Translations(list, groups)
	var lines []string
	for tr := range maps.Keys(out) {
		lines = append(lines, tr.String()+" "+tr.Backend.String())
	}
	slices.Sort(lines)
	return out, strings.Join(lines, "\n")
}

func TestTranslationsAreThoseOfUDP(t *testing.T) {
	_, got := translations(t, dns(at("10.244.1.2"), at("10.244.2.2"), at("fd00:1::2")))
	want := "10.96.0.10:53/UDP 10.244.1.2:5353\n10.96.0.10:53/UDP 10.244.2.2:5353\n[fd00:96::a]:53/UDP [fd00:1::2]:5353"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTranslationsOfManyBackendsAndWithAffinity(t *testing.T) {
	for _, affinity := range []int32{0, 60} {
		var many []state.Endpoint
		for i := range 2500 {
			many = append(many, at(fmt.Sprintf("10.244.%d.%d", i/250, i%250+1)))
		}
		s := dns(many...)
		s.Services[0].Affinity = affinity
		if got, _ := translations(t, s); len(got) != len(many) {
			t.Errorf("affinity %d: of %d backends there are %d", affinity, len(many), len(got))
		}
	}
}

func TestHowABackendStands(t *testing.T) {
	draining, sick := at("10.244.1.3"), at("10.244.1.4")
	draining.Ready, draining.Terminating = false, true
	sick.Ready, sick.Serving = false, false
	r := service.Resolve(dns(at("10.244.1.2"), draining, sick))
	front := service.Frontend{Address: netip.MustParseAddr("10.96.0.10"), Protocol: state.UDP, Port: 53}
	other := front
	other.Port = 54
	var list []service.Translation
	want := map[service.Translation]service.Standing{}
	add := func(f service.Frontend, backend string, s service.Standing) {
		tr := service.Translation{Frontend: f, Backend: netip.MustParseAddrPort(backend)}
		list, want[tr] = append(list, tr), s
	}
	add(front, "10.244.1.2:5353", service.Used)
	add(front, "10.244.1.3:5353", service.Serving)
	add(front, "10.244.1.4:5353", service.Away)
	add(front, "10.244.1.5:5353", service.Away)
	add(front, "10.244.1.2:53", service.Away)
	add(other, "10.244.1.2:5353", service.Away)
	got, ports := r.Standings(list)
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !ports[front] || ports[other] || len(ports) != 1 {
		t.Errorf("ports %v", ports)
	}
}
