package endpoint_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-cni/sluice/flows/endpoint"
)

func TestParsingEndpoints(t *testing.T) {
	address := netip.MustParseAddr
	tests := []struct {
		text string
		want endpoint.Endpoint
		long string
	}{
		{"web", endpoint.Endpoint{Kind: endpoint.Pod, Namespace: "default", Name: "web"}, "default/web"},
		{"prod/web", endpoint.Endpoint{Kind: endpoint.Pod, Namespace: "prod", Name: "web"}, "prod/web"},
		{"prod/web.v1:80/TCP", endpoint.Endpoint{Kind: endpoint.Pod, Namespace: "prod", Name: "web.v1", Port: 80, Protocol: "tcp"}, "prod/web.v1"},
		{"web:53/udp", endpoint.Endpoint{Kind: endpoint.Pod, Namespace: "default", Name: "web", Port: 53, Protocol: "udp"}, "default/web"},
		{"10.1.2.3", endpoint.Endpoint{Kind: endpoint.Address, Address: address("10.1.2.3")}, "10.1.2.3"},
		{"10.1.2.3:443", endpoint.Endpoint{Kind: endpoint.Address, Address: address("10.1.2.3"), Port: 443}, "10.1.2.3"},
		{"fd00::1", endpoint.Endpoint{Kind: endpoint.Address, Address: address("fd00::1")}, "fd00::1"},
		{"[fd00::1]:53/udp", endpoint.Endpoint{Kind: endpoint.Address, Address: address("fd00::1"), Port: 53, Protocol: "udp"}, "fd00::1"},
		{"node/n1", endpoint.Endpoint{Kind: endpoint.Node, Name: "n1"}, "node/n1"},
		{"node/n1:10250", endpoint.Endpoint{Kind: endpoint.Node, Name: "n1", Port: 10250}, "node/n1"},
		{"svc/prod/web:80", endpoint.Endpoint{Kind: endpoint.Service, Namespace: "prod", Name: "web", Port: 80}, "svc/prod/web"},
		{"outside", endpoint.Endpoint{Kind: endpoint.Outside}, "outside"},
		{"outside:8080/tcp", endpoint.Endpoint{Kind: endpoint.Outside, Port: 8080, Protocol: "tcp"}, "outside"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			got, err := endpoint.Parse(test.text)
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
		if got, err := endpoint.Parse(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}
