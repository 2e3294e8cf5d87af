package service_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
)

// TestBackends: what the API says of whom a client on node n1, in zone east, is served by.
func TestBackends(t *testing.T) {
	for _, c := range []struct{ says, service, slices, want string }{
		{
			"ready backends serve; the others do not while there is one", ``,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [
				{address: 10.244.1.2, ready: true, serving: true}, {address: 10.244.1.3}, {address: 10.244.1.4, serving: true, terminating: true}, {address: 10.244.1.5, terminating: true}]}]`,
			`10.244.1.2:8080 ready
			 10.244.1.3:8080 - not ready
			 10.244.1.4:8080 - terminating
			 10.244.1.5:8080 - terminating`,
		},
		{
			"terminating backends that serve still take over when none is ready", ``,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.3}, {address: 10.244.1.4, serving: true, terminating: true}, {address: 10.244.1.5, terminating: true}]}]`,
			`10.244.1.3:8080 - not ready
			 10.244.1.4:8080 terminating, used because none is ready
			 10.244.1.5:8080 - terminating`,
		},
		{"no backend at all", ``, `[]`, ``},
		{
			"publishNotReadyAddresses: all serve", `publishNotReady: true`,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.3}, {address: 10.244.1.5, terminating: true}]}]`,
			`10.244.1.3:8080 ready
			 10.244.1.5:8080 ready`,
		},
		{
			"an address in two slices counts once, as ready if it is in one", ``,
			`[{name: a, ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.2}]}, {name: b, ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.2, ready: true, serving: true}]}]`,
			`10.244.1.2:8080 ready`,
		},
		{
			"one address at two ports is two backends", ``,
			`[{name: a, ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.2, ready: true}]}, {name: b, ports: [{protocol: TCP, port: 9090}], endpoints: [{address: 10.244.1.2, ready: true}]}]`,
			`10.244.1.2:8080 ready
			 10.244.1.2:9090 ready`,
		},
		{
			"slices of another family, port name, protocol, Service or namespace are not meant", ``,
			`[{name: a, ports: [{protocol: TCP, port: 8080}], endpoints: [{address: "fd00::2", ready: true}]},
			  {name: b, ports: [{name: other, protocol: TCP, port: 8080}, {protocol: UDP, port: 8080}], endpoints: [{address: 10.244.1.2, ready: true}]},
			  {name: c, service: other, ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.3, ready: true}]},
			  {name: d, namespace: other, ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.4, ready: true}]}]`,
			``,
		},
		{
			"internalTrafficPolicy Local: ready ones of this node", `internalLocal: true`,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [
				{address: 10.244.1.2, ready: true, node: n1}, {address: 10.244.1.3, serving: true, terminating: true, node: n1}, {address: 10.244.2.2, ready: true, node: n2}, {address: 10.9.9.9, ready: true}]}]`,
			`10.9.9.9:8080 - on another node (internalTrafficPolicy: Local)
			 10.244.1.2:8080 ready
			 10.244.1.3:8080 - terminating
			 10.244.2.2:8080 - on another node (internalTrafficPolicy: Local)`,
		},
		{
			"internalTrafficPolicy Local: terminating ones of this node if none of it is ready, whatever there is elsewhere", `internalLocal: true`,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.3, serving: true, terminating: true, node: n1}, {address: 10.244.2.2, ready: true, node: n2}]}]`,
			`10.244.1.3:8080 terminating, used because none is ready
			 10.244.2.2:8080 - on another node (internalTrafficPolicy: Local)`,
		},
		{
			"internalTrafficPolicy Local takes no notice of hints", `internalLocal: true`,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.3, ready: true, node: n1, forZones: [west]}, {address: 10.244.2.2, ready: true, node: n2, forZones: [east]}]}]`,
			`10.244.1.3:8080 ready
			 10.244.2.2:8080 - on another node (internalTrafficPolicy: Local)`,
		},
		{
			"hints for zones, if every ready backend has one", ``,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [
				{address: 10.244.1.2, ready: true, forZones: [east]}, {address: 10.244.1.3, ready: true, forZones: [west]}, {address: 10.244.1.4, ready: true, forZones: [west, east]}, {address: 10.244.1.5, terminating: true}]}]`,
			`hints for zone east are used
			 10.244.1.2:8080 ready
			 10.244.1.3:8080 - hinted for elsewhere
			 10.244.1.4:8080 ready
			 10.244.1.5:8080 - terminating`,
		},
		{
			"hints for zones are dropped if one ready backend has none", ``,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.2, ready: true, forZones: [east]}, {address: 10.244.1.3, ready: true}]}]`,
			`hints are not used: not every ready backend has one for a zone
			 10.244.1.2:8080 ready
			 10.244.1.3:8080 ready`,
		},
		{
			"hints for zones are dropped if none is for this one", ``,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.2, ready: true, forZones: [west]}]}]`,
			`hints are not used: no ready backend is for zone east
			 10.244.1.2:8080 ready`,
		},
		{
			"hints for nodes come before those for zones", ``,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [
				{address: 10.244.1.2, ready: true, forZones: [east], forNodes: [n1]}, {address: 10.244.1.3, ready: true, forZones: [east], forNodes: [n2]}]}]`,
			`hints for node n1 are used
			 10.244.1.2:8080 ready
			 10.244.1.3:8080 - hinted for elsewhere`,
		},
		{
			"hints for nodes are dropped if none is for this one; then those for zones count", ``,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [
				{address: 10.244.1.2, ready: true, forZones: [east], forNodes: [n2]}, {address: 10.244.1.3, ready: true, forZones: [west], forNodes: [n3]}]}]`,
			`hints for zone east are used
			 10.244.1.2:8080 ready
			 10.244.1.3:8080 - hinted for elsewhere`,
		},
		{
			"hints for nodes alone, none for this one", ``,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.2, ready: true, forNodes: [n2]}]}]`,
			`hints are not used: no ready backend is for node n1
			 10.244.1.2:8080 ready`,
		},
		{
			"trafficDistribution without hints changes nothing, and it is said", `trafficDistribution: PreferClose`,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.2, ready: true}]}]`,
			`hints are not used: no ready backend has any
			 10.244.1.2:8080 ready`,
		},
		{
			"when no hinted backend is ready any more, terminating ones serve whatever their hints", ``,
			`[{ports: [{protocol: TCP, port: 8080}], endpoints: [{address: 10.244.1.2, serving: true, terminating: true, forZones: [west]}, {address: 10.244.1.3}]}]`,
			`10.244.1.2:8080 terminating, used because none is ready
			 10.244.1.3:8080 - not ready`,
		},
	} {
		t.Run(c.says, func(t *testing.T) {
			s := state.State{Node: "n1", Nodes: []state.Node{{Name: "n1", Labels: map[string]string{service.ZoneLabel: "east"}}, {Name: "n2"}}}
			o := state.Service{Namespace: "shop", Name: "web", ClusterIPs: addrs("10.96.0.1"), Ports: []state.ServicePort{{Protocol: state.TCP, Port: 80}}}
			fromYAML(t, "{"+c.service+"}", &o)
			s.Services = []state.Service{o}
			fromYAML(t, c.slices, &s.EndpointSlices)
			for i := range s.EndpointSlices {
				e := &s.EndpointSlices[i]
				e.Namespace, e.Service = or(e.Namespace, "shop"), or(e.Service, "web")
			}
			r := service.Resolve(s)
			if len(r.Services) != 1 || len(r.Services[0].Ports) != 1 {
				t.Fatalf("%+v", r)
			}
			if got, want := text(r.Services[0].Ports[0]), strings.ReplaceAll(c.want, "\t", ""); got != strings.ReplaceAll(want, "\n ", "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestANodeWithoutAZoneUsesNoHintsForZones(t *testing.T) {
	s := state.State{Node: "n1", Nodes: []state.Node{{Name: "n1"}}}
	s.Services = []state.Service{{Name: "web", ClusterIPs: addrs("10.96.0.1"), Ports: []state.ServicePort{{Protocol: state.TCP, Port: 80}}}}
	s.EndpointSlices = []state.EndpointSlice{{Service: "web", Ports: []state.EndpointPort{{Protocol: state.TCP, Port: 80}},
		Endpoints: []state.Endpoint{{Address: addrs("10.244.1.2")[0], Ready: true, ForZones: []string{""}}}}}
	if got := text(service.Resolve(s).Services[0].Ports[0]); got != "hints are not used: this node has no zone\n10.244.1.2:80 ready" {
		t.Error(got)
	}
}

func TestFamilies(t *testing.T) {
	s := state.State{Node: "n1"}
	s.Services = []state.Service{{Name: "web", ClusterIPs: addrs("fd96::1", "10.96.0.1"), Ports: []state.ServicePort{{Name: "a", Protocol: state.TCP, Port: 80}, {Name: "b", Protocol: state.UDP, Port: 53}}}}
	ports := []state.EndpointPort{{Name: "a", Protocol: state.TCP, Port: 8080}, {Name: "b", Protocol: state.UDP, Port: 5353}}
	s.EndpointSlices = []state.EndpointSlice{
		{Name: "4", Service: "web", Ports: ports, Endpoints: []state.Endpoint{{Address: addrs("10.244.1.2")[0], Ready: true}}},
		{Name: "6", Service: "web", Ports: ports, Endpoints: []state.Endpoint{{Address: addrs("fd00::2")[0], Ready: true}}},
	}
	var got strings.Builder
	for _, p := range service.Resolve(s).Services[0].Ports {
		fmt.Fprintln(&got, p.Name, p.IPv6, p.Addresses, p.Used())
	}
	if want := "a false [10.96.0.1] [10.244.1.2:8080]\na true [fd96::1] [[fd00::2]:8080]\nb false [10.96.0.1] [10.244.1.2:5353]\nb true [fd96::1] [[fd00::2]:5353]\n"; got.String() != want {
		t.Errorf("got\n%s", got.String())
	}
}

// TestOneOfTwoServicesHasAnAddressAndPort: what lives before what is being deleted, then the older, then
// the first by name; the other ports stay their own Services'.
func TestOneOfTwoServicesHasAnAddressAndPort(t *testing.T) {
	web := func(name string, created int64, deleting bool, ports ...uint16) state.Service {
		o := state.Service{Namespace: "shop", Name: name, UID: name, ClusterIPs: addrs("10.96.0.1"), Created: created, Deleting: deleting}
		for _, p := range ports {
			o.Ports = append(o.Ports, state.ServicePort{Name: fmt.Sprint(p), Protocol: state.TCP, Port: p})
		}
		return o
	}
	for _, c := range []struct {
		services  []state.Service
		want      string
		conflicts int
	}{
		{[]state.Service{web("new", 2, false, 80), web("old", 1, false, 80)}, "new 80 [] guards []; old 80 [10.96.0.1] guards [10.96.0.1]; ", 1},
		{[]state.Service{web("new", 2, false, 80), web("old", 1, true, 80)}, "new 80 [10.96.0.1] guards [10.96.0.1]; old 80 [] guards []; ", 1},
		{[]state.Service{web("a", 1, false, 80), web("b", 1, false, 80), web("c", 1, false, 80)}, "a 80 [10.96.0.1] guards [10.96.0.1]; b 80 [] guards []; c 80 [] guards []; ", 2},
		{[]state.Service{web("new", 2, false, 443, 80), web("old", 1, false, 80)}, "new 443 [10.96.0.1] 80 [] guards []; old 80 [10.96.0.1] guards [10.96.0.1]; ", 1},
		{[]state.Service{web("new", 2, false, 443), web("old", 1, false, 80)}, "new 443 [10.96.0.1] guards []; old 80 [10.96.0.1] guards [10.96.0.1]; ", 0},
		{[]state.Service{web("new", 2, false, 80)}, "new 80 [10.96.0.1] guards [10.96.0.1]; ", 0},
	} {
		r := service.Resolve(state.State{Node: "n1", Services: c.services})
		var got strings.Builder
		for _, o := range r.Services {
			got.WriteString(o.Object.Name + " ")
			for _, p := range o.Ports {
				fmt.Fprint(&got, p.Name, " ", p.Addresses, " ")
			}
			fmt.Fprint(&got, "guards ", o.Guards, "; ")
		}
		if got.String() != c.want || len(r.Conflicts) != c.conflicts {
			t.Errorf("got %s and %v\nwant %s and %d", got.String(), r.Conflicts, c.want, c.conflicts)
		}
		for _, conflict := range r.Conflicts {
			if !strings.HasPrefix(conflict.String(), "service address 10.96.0.1:80/TCP: shop/") {
				t.Error(conflict)
			}
		}
	}
}

// TestWhatIsResolvedAnewEqualsTheWhole: after any states a Resolver says what Resolve says, whatever the
// order of the objects; and what is alike in two that follow is the same.
func TestWhatIsResolvedAnewEqualsTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r service.Resolver
		last := map[string]*service.Service{}
		for range rapid.IntRange(2, 5).Draw(t, "states") {
			s := state.State{Node: "n1"}
			statetest.DrawServices(t, &s)
			got := r.Resolve(s)
			s.Services = rapid.Permutation(s.Services).Draw(t, "services")
			s.EndpointSlices = rapid.Permutation(s.EndpointSlices).Draw(t, "slices")
			if want := service.Resolve(s); !reflect.DeepEqual(got, want) {
				t.Fatalf("after others:\n%+v\nalone:\n%+v", got, want)
			}
			next := map[string]*service.Service{}
			for _, o := range got.Services {
				next[o.Name()] = o
				if before := last[o.Name()]; before != o && reflect.DeepEqual(before, o) {
					t.Fatalf("%s is made anew though it is alike", o.Name())
				}
			}
			last = next
		}
	})
}
