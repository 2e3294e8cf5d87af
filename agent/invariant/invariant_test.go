package invariant_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/invariant"
	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

func pod(name, port, address string, number uint32) lease.Lease {
	return lease.Lease{NetNS: "/run/netns/" + name, Attachment: state.Attachment{
		Network: "sluice", ContainerID: name, IfName: "eth0", PodNamespace: "default", PodName: name,
		Port: port, Addresses: []netip.Addr{netip.MustParseAddr(address)}, OFPort: number,
	}}
}

// sound is a node with two pods and one flow.
func sound() invariant.Seen {
	flow := flows.Flow{Table: flows.Classify, Priority: 1}
	return invariant.Seen{
		Rows:       []lease.Lease{pod("a", "slca", "10.244.1.2", 258), pod("b", "slcb", "10.244.1.3", 259)},
		Cables:     []string{"slca", "slcb"},
		Namespaces: map[string]bool{"/run/netns/a": true, "/run/netns/b": true},
		Desired:    []flows.Flow{flow}, Installed: []flows.Flow{flow},
	}
}

func TestCheck(t *testing.T) {
	other := flows.Flow{Table: flows.Classify, Priority: 7}
	for _, test := range []struct {
		name   string
		change func(*invariant.Seen)
		// want are parts of what is said, one for each broken invariant.
		want []string
	}{
		{"a sound node breaks nothing", func(*invariant.Seen) {}, nil},
		{"a port without its cable", func(s *invariant.Seen) { s.Cables = s.Cables[:1] }, []string{"port slcb of pod default/b has no cable"}},
		{"a cable without its port", func(s *invariant.Seen) { s.Rows = s.Rows[1:] }, []string{"cable slca has no port"}},
		{"a namespace that is gone", func(s *invariant.Seen) { delete(s.Namespaces, "/run/netns/a") }, []string{"network namespace /run/netns/a is gone"}},
		{"an address held twice", func(s *invariant.Seen) { s.Rows[1].Addresses = s.Rows[0].Addresses }, []string{"address 10.244.1.2 is held twice"}},
		{"a port number given twice", func(s *invariant.Seen) { s.Rows[1].OFPort = 258 }, []string{"port number 258 is both slca's and slcb's"}},
		{"a second network with the same address and number", func(s *invariant.Seen) {
			l := pod("a", "slcc", "10.244.1.2", 258)
			l.Layer2.Bridge, s.Bridges, s.Cables = "br-lan", []string{"br-lan"}, append(s.Cables, "slcc")
			s.Rows = append(s.Rows, l)
		}, nil},
		{"a second network without its bridge", func(s *invariant.Seen) { s.Rows[0].Layer2.Bridge = "br-lan" }, []string{"port slca of pod default/a has no bridge br-lan"}},
		{"a second network without its cable", func(s *invariant.Seen) {
			s.Rows[0].Layer2.Bridge, s.Bridges, s.Cables = "br-lan", []string{"br-lan"}, s.Cables[1:]
		}, []string{"port slca of pod default/a has no cable"}},
		{"an ADD that was cut short", func(s *invariant.Seen) {
			s.Rows[0].Layer2.Bridge, s.Bridges, s.Rows[0].IPAM, s.Rows[0].Addresses = "br-lan", []string{"br-lan"}, "dhcp", nil
		}, []string{"port slca of pod default/a has no address of IPAM plugin dhcp"}},
		{"a lent device", func(s *invariant.Seen) {
			s.Rows[0].Layer2.Device, s.Devices, s.Cables = "eth1", []string{"slca"}, s.Cables[1:]
		}, nil},
		{"a lent device that is elsewhere", func(s *invariant.Seen) { s.Rows[0].Layer2.Device, s.Cables = "eth1", s.Cables[1:] }, []string{"device eth1, lent to pod default/a, is not in its container"}},
		{"a flow that is missing", func(s *invariant.Seen) { s.Installed = nil }, []string{"flow is missing: "}},
		{"a flow of somebody else", func(s *invariant.Seen) { s.Installed = append(s.Installed, other) }, []string{"flow is not ours: "}},
		{"a flow that the switch has learned", func(s *invariant.Seen) {
			s.Installed = append(s.Installed, flows.Flow{Table: flows.Affinity, Cookie: flows.Owner{Kind: flows.OwnerLearned}.Cookie(0)})
		}, nil},
		{"a flow that cannot be read", func(s *invariant.Seen) { s.Strange = []string{"table=0 x"} }, []string{"flow is not ours: table=0 x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen := sound()
			test.change(&seen)
			broken := invariant.Check(seen)
			if len(broken) != len(test.want) {
				t.Fatalf("broken: %v, want %d", broken, len(test.want))
			}
			for i, want := range test.want {
				if !strings.Contains(broken[i].What, want) || broken[i].Cure == "" {
					t.Errorf("broken: %v, want %q and a cure", broken[i], want)
				}
			}
		})
	}
}
