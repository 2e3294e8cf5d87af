package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
