package openflow_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/sluice-cni/sluice/flows/service"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// mostBytes is how long a message may be, with room to its length's 16 bits.
const mostBytes = 60000

// TestNoGroupOfAServiceIsTooLong: for numbers of backends up to more than any cluster has, and all in buckets.
func TestNoGroupOfAServiceIsTooLong(t *testing.T) {
	longest := 0
	for _, count := range []int{1, 2, 30, 31, 250, 251, 500, 501, 1000, 1001, 2500, 10000} {
		s := state.State{
			Services: []state.Service{{Name: "a", ClusterIPs: []netip.Addr{netip.MustParseAddr("fd96::1")}, Ports: []state.ServicePort{{Protocol: state.TCP, Port: 80}}}},
		}
		e := state.EndpointSlice{Name: "a", Service: "a", Ports: []state.EndpointPort{{Protocol: state.TCP, Port: 8080}}}
		for k := range count {
			a := netip.MustParseAddr("fd00:1::").As16()
			binary.BigEndian.PutUint32(a[12:], uint32(k+1))
			e.Endpoints = append(e.Endpoints, state.Endpoint{Address: netip.AddrFrom16(a), Ready: true})
		}
		s.EndpointSlices = []state.EndpointSlice{e}
		r := service.Resolve(s)
		flows, groups := r.Services[0].Tables(r.Numbers)
		if len(flows) != 2 {
			t.Fatalf("%d flows", len(flows))
		}
		backends := map[string]bool{}
		for _, g := range groups {
			message, err := openflow.GroupMessage(g)
			if err != nil {
				t.Fatal(err)
			}
			longest = max(longest, len(message))
			for _, b := range g.Buckets {
				if text := b.Actions[0].String(); text[:2] == "ct" {
					backends[text] = true
				}
			}
		}
		if len(backends) != count {
			t.Errorf("%d backends have %d buckets", count, len(backends))
		}
	}
	if t.Logf("the longest message has %d bytes", longest); longest > mostBytes {
		t.Errorf("more than %d", mostBytes)
	}
}
