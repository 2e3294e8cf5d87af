package lab

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParsingEndpoints(t *testing.T) {
	address := netip.MustParseAddr
	tests := []struct {
		text string
		want Endpoint
		long string
	}{
		{"web", Endpoint{Kind: PodEndpoint, Namespace: "default", Name: "web"}, "default/web"},
		{"prod/web", Endpoint{Kind: PodEndpoint, Namespace: "prod", Name: "web"}, "prod/web"},
		{"prod/web.v1:80/TCP", Endpoint{Kind: PodEndpoint, Namespace: "prod", Name: "web.v1", Port: 80, Protocol: "tcp"}, "prod/web.v1"},
		{"web:53/udp", Endpoint{Kind: PodEndpoint, Namespace: "default", Name: "web", Port: 53, Protocol: "udp"}, "default/web"},
		{"10.1.2.3", Endpoint{Kind: AddressEndpoint, Address: address("10.1.2.3")}, "10.1.2.3"},
		{"10.1.2.3:443", Endpoint{Kind: AddressEndpoint, Address: address("10.1.2.3"), Port: 443}, "10.1.2.3"},
		{"fd00::1", Endpoint{Kind: AddressEndpoint, Address: address("fd00::1")}, "fd00::1"},
		{"[fd00::1]:53/udp", Endpoint{Kind: AddressEndpoint, Address: address("fd00::1"), Port: 53, Protocol: "udp"}, "fd00::1"},
		{"node/n1", Endpoint{Kind: NodeEndpoint, Name: "n1"}, "node/n1"},
		{"node/n1:10250", Endpoint{Kind: NodeEndpoint, Name: "n1", Port: 10250}, "node/n1"},
		{"svc/prod/web:80", Endpoint{Kind: ServiceEndpoint, Namespace: "prod", Name: "web", Port: 80}, "svc/prod/web"},
		{"outside", Endpoint{Kind: OutsideEndpoint}, "outside"},
		{"outside:8080/tcp", Endpoint{Kind: OutsideEndpoint, Port: 8080, Protocol: "tcp"}, "outside"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			got, err := ParseEndpoint(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
			if got.String() != test.long {
				t.Errorf("is %q, want %q", got, test.long)
			}
		})
	}
}

func TestWhatIsNoEndpoint(t *testing.T) {
	for _, text := range []string{"", "/", "a/", "/a", "a/b/c", "svc/a/b/c", "web:0", "web:70000", "web:80/icmp", "web:http", "a b"} {
		if got, err := ParseEndpoint(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func TestWhatIsTriedAtAnEndpoint(t *testing.T) {
	pod := station{ports: []Port{{80, "TCP"}, {53, "UDP"}, {53, "TCP"}, {9, "SCTP"}}}
	node := station{Endpoint: Endpoint{Kind: NodeEndpoint}}
	explicit := []Endpoint{{}}
	tests := []struct {
		name    string
		at      station
		request ProbeRequest
		want    []Port
	}{
		{"everything that is declared", pod, ProbeRequest{}, []Port{{0, "icmp"}, {80, "tcp"}, {53, "udp"}, {53, "tcp"}}},
		{"one protocol", pod, ProbeRequest{Protocol: "tcp"}, []Port{{80, "tcp"}, {53, "tcp"}}},
		{"one port, by the protocols that it has", pod, ProbeRequest{Port: 53}, []Port{{53, "udp"}, {53, "tcp"}}},
		{"a node declares nothing", node, ProbeRequest{}, []Port{{0, "icmp"}}},
		{"a port that nobody said is here", node, ProbeRequest{Port: 53}, nil},
		{"a port that was said to be here", node, ProbeRequest{Port: 53, To: explicit}, []Port{{53, "tcp"}}},
		{"with its protocol", node, ProbeRequest{Port: 53, Protocol: "udp", To: explicit}, []Port{{53, "udp"}}},
		{"the endpoint's own port goes first", station{Endpoint: Endpoint{Port: 7, Protocol: "udp"}}, ProbeRequest{Port: 80, To: explicit}, []Port{{7, "udp"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.at.checks(test.request)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
