package forget_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/forget"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/conntrack"
)

func endpoint(address string, conditions string) state.Endpoint {
	return state.Endpoint{
		Address: netip.MustParseAddr(address),
		Ready:   strings.Contains(conditions, "ready"), Serving: strings.Contains(conditions, "serving"), Terminating: strings.Contains(conditions, "terminating"),
	}
}

// tables are a node's, with a Service of UDP and TCP that has these backends; none at all without
// any.
func tables(endpoints ...state.Endpoint) render.Result {
	s := state.State{Node: "n1", Nodes: []state.Node{{
		Name: "n1", Ready: true, Addresses: []netip.Addr{netip.MustParseAddr("10.9.0.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
	}}}
	if len(endpoints) > 0 {
		s.Services = []state.Service{{
			Namespace: "x", Name: "dns", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
			Ports: []state.ServicePort{{Name: "u", Protocol: state.UDP, Port: 53}, {Name: "t", Protocol: state.TCP, Port: 53}},
		}}
		s.EndpointSlices = []state.EndpointSlice{{
			Namespace: "x", Name: "dns-1", Service: "dns", Endpoints: endpoints,
			Ports: []state.EndpointPort{{Name: "u", Protocol: state.UDP, Port: 5353}, {Name: "t", Protocol: state.TCP, Port: 5353}},
		}}
	}
	return render.Tables(s)
}

func texts(list []conntrack.Match) string {
	var out []string
	for _, m := range list {
		backend := "any"
		if m.Reply.Src.IsValid() {
			backend = m.Reply.Src.String()
		}
		out = append(out, m.Original.Dst.String()+" "+backend)
	}
	return strings.Join(out, ", ")
}

func TestWhatIsToBeForgotten(t *testing.T) {
	one, two := endpoint("10.244.1.2", "ready serving"), endpoint("10.244.1.3", "ready serving")
	for _, c := range []struct {
		name     string
		was, now []state.Endpoint
		want     string
	}{
		{"nothing changes", []state.Endpoint{one}, []state.Endpoint{one}, ""},
		{"the first backend comes", []state.Endpoint{endpoint("10.244.1.2", "")}, []state.Endpoint{one}, ""},
		{"a backend more", []state.Endpoint{one}, []state.Endpoint{one, two}, ""},
		{"a backend less", []state.Endpoint{one, two}, []state.Endpoint{two}, "10.96.0.10:53 10.244.1.2:5353"},
		{"the last backend goes", []state.Endpoint{one}, []state.Endpoint{endpoint("10.244.1.2", "")}, "10.96.0.10:53 10.244.1.2:5353"},
		{"the Service goes", []state.Endpoint{one, two}, nil, "10.96.0.10:53 any"},
	} {
		t.Run(c.name, func(t *testing.T) {
			was, now := tables(c.was...), tables(c.now...)
			if got := texts(forget.Gone(was.Set, now.Set, now.Services)); got != c.want {
				t.Errorf("from owners: %q, want %q", got, c.want)
			}
			found := []*render.Owned{{Flows: was.Flows(), Groups: was.Groups()}}
			if got := texts(forget.Gone(found, now.Set, now.Services)); got != c.want {
				t.Errorf("from what a switch held: %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheVerdictOnABackend(t *testing.T) {
	other := endpoint("10.244.1.3", "ready serving")
	match := func(backend string) conntrack.Match {
		return conntrack.Match{
			Zone: 100, Protocol: conntrack.UDP, Original: conntrack.Tuple{Dst: netip.MustParseAddrPort("10.96.0.10:53")},
			Reply: conntrack.Tuple{Src: netip.MustParseAddrPort(backend)},
		}
	}
	owed := match("10.244.1.2:5353")
	for _, c := range []struct {
		name string
		now  []state.Endpoint
		want forget.Verdict
	}{
		{"it has gone", []state.Endpoint{other}, forget.Due},
		{"it is not ready", []state.Endpoint{other, endpoint("10.244.1.2", "")}, forget.Due},
		{"it is terminating and serves", []state.Endpoint{other, endpoint("10.244.1.2", "serving terminating")}, forget.Wait},
		{"it is back", []state.Endpoint{other, endpoint("10.244.1.2", "ready serving")}, forget.Never},
		{"it is all that is left", []state.Endpoint{endpoint("10.244.1.2", "serving terminating")}, forget.Never},
		{"the Service has gone", nil, forget.Due},
	} {
		if got := forget.Verdicts([]conntrack.Match{owed}, tables(c.now...).Services)[owed]; got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
