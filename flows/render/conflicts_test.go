package render_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
)

func TestAConflictNamesLoserAndWinner(t *testing.T) {
	prefix, addr := netip.MustParsePrefix("10.244.1.0/24"), netip.MustParseAddr("10.244.1.2")
	cable := func(id, pod string, port uint32, address string, created int64) state.Attachment {
		a := state.Attachment{
			Network: "sluice", ContainerID: id, IfName: "eth0", MAC: "0a:58:0a:f4:01:02", OFPort: port,
			Addresses: []netip.Addr{netip.MustParseAddr(address)}, Created: created,
		}
		if pod != "" {
			a.PodNamespace, a.PodName, a.PodUID = "default", pod, "uid-"+pod
		}
		return a
	}
	onHost := func(pod string, port uint32, address string, created int64, hostPort string) state.Attachment {
		a := cable("c-"+pod, pod, port, address, created)
		h, err := state.ParseHostPort(hostPort)
		if err != nil {
			t.Fatal(err)
		}
		a.HostPorts = []state.HostPort{h}
		return a
	}
	broken := cable("c1", "a", 258, "10.244.1.2", 1)
	broken.MAC = "0a:58"
	podA := claims.Object{Kind: claims.KindPod, Namespace: "default", Name: "a", UID: "uid-a"}
	podB := claims.Object{Kind: claims.KindPod, Namespace: "default", Name: "b", UID: "uid-b"}
	for _, c := range []struct {
		name  string
		state state.State
		want  claims.Conflict
		text  string
	}{
		{
			"two nodes with one podCIDR",
			state.State{Nodes: []state.Node{
				{Name: "n1", UID: "u1", PodCIDRs: []netip.Prefix{prefix}, Created: 1},
				{Name: "n2", UID: "u2", PodCIDRs: []netip.Prefix{prefix}, Created: 2},
			}},
			claims.Conflict{
				On: claims.OnPodCIDR, Key: prefix.String(),
				Loser: claims.Object{Kind: claims.KindNode, Name: "n1", UID: "u1"}, Winner: claims.Object{Kind: claims.KindNode, Name: "n2", UID: "u2"},
			},
			"podCIDR 10.244.1.0/24: node n1 loses it to node n2",
		},
		{
			"two pods with one address",
			state.State{Attachments: []state.Attachment{cable("c1", "a", 258, "10.244.1.2", 1), cable("c2", "b", 300, "10.244.1.2", 2)}},
			claims.Conflict{On: claims.OnAddress, Key: addr.String(), Loser: podA, Winner: podB},
			"address 10.244.1.2: default/a loses it to default/b",
		},
		{
			"two attachments with one port",
			state.State{Attachments: []state.Attachment{cable("c2", "b", 258, "10.244.1.3", 2), cable("c1", "a", 258, "10.244.1.2", 1)}},
			claims.Conflict{On: claims.OnPort, Key: "258", Loser: podA, Winner: podB},
			"port 258: default/a loses it to default/b",
		},
		{
			"a container that is no pod",
			state.State{Attachments: []state.Attachment{cable("c1", "a", 258, "10.244.1.2", 1), cable("c2", "", 258, "10.244.1.3", 2)}},
			claims.Conflict{On: claims.OnPort, Key: "258", Loser: podA, Winner: claims.Object{Kind: claims.KindContainer, Name: "sluice/c2/eth0"}},
			"port 258: default/a loses it to sluice/c2/eth0",
		},
		{
			"one host port for two pods: the older has it",
			state.State{Attachments: []state.Attachment{onHost("b", 259, "10.244.1.3", 1, "10.9.0.1:8080:80/TCP"), onHost("a", 258, "10.244.1.2", 2, "8080:80/TCP")}},
			claims.Conflict{On: claims.OnHostPort, Key: "8080/TCP", Loser: podA, Winner: podB},
			"host port 8080/TCP: default/a loses it to default/b",
		},
		{
			"one host port, and the older pod is on its way out",
			state.State{
				Pods:        []state.Pod{{Namespace: "default", Name: "a", Deleting: true}},
				Attachments: []state.Attachment{onHost("b", 259, "10.244.1.3", 2, "8080:80/TCP"), onHost("a", 258, "10.244.1.2", 1, "8080:80/TCP")},
			},
			claims.Conflict{On: claims.OnHostPort, Key: "8080/TCP", Loser: podA, Winner: podB},
			"host port 8080/TCP: default/a loses it to default/b",
		},
		{
			"a MAC that is none",
			state.State{Attachments: []state.Attachment{broken}},
			claims.Conflict{On: claims.OnMAC, Key: "0a:58", Loser: podA},
			"pod default/a: address 0a:58: invalid MAC address",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.state.Node = "n1"
			got := render.Tables(c.state).Conflicts
			if !slices.Equal(got, []claims.Conflict{c.want}) || got[0].String() != c.text {
				t.Errorf("conflicts %v, want %v (%s)", got, c.want, c.text)
			}
		})
	}
}

// TestAPodThatLosesIsNamedByItsObject: on its own node and on the winner's, offline too,
// where it has no attachment that could be told.
func TestAPodThatLosesIsNamedByItsObject(t *testing.T) {
	pod := func(node, name, address string, created int64) state.Pod {
		return state.Pod{Namespace: "default", Name: name, UID: "uid-" + name, Node: node, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Created: created}
	}
	finished, leaving, onHost := pod("n1", "a", "10.244.1.2", 1), pod("n1", "a", "10.244.1.2", 1), pod("n1", "a", "10.244.1.2", 1)
	finished.Finished, leaving.Deleting, onHost.HostNetwork = true, true, true
	nodes := []state.Node{
		{Name: "n1", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}},
		{Name: "n2", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")}},
		{Name: "n3", PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.3.0/24")}},
	}
	for _, c := range []struct {
		name string
		pods []state.Pod
		want string // on n1
	}{
		{"two on one node: the newer has it", []state.Pod{pod("n1", "a", "10.244.1.2", 1), pod("n1", "b", "10.244.1.2", 2)}, "address 10.244.1.2: default/a loses it to default/b"},
		{"on two nodes: the podCIDR's has it", []state.Pod{pod("n1", "a", "10.244.1.2", 1), pod("n2", "b", "10.244.1.2", 2)}, "address 10.244.1.2: default/b loses it to default/a"},
		{"this node's own loses", []state.Pod{pod("n1", "a", "10.244.2.2", 2), pod("n2", "b", "10.244.2.2", 1)}, "address 10.244.2.2: default/a loses it to default/b"},
		{"in nobody's podCIDR: the newer", []state.Pod{pod("n1", "a", "192.168.7.7", 1), pod("n2", "b", "192.168.7.7", 2)}, "address 192.168.7.7: default/a loses it to default/b"},
		{"on two other nodes: they say so", []state.Pod{pod("n2", "a", "10.244.2.2", 1), pod("n3", "b", "10.244.2.2", 2), pod("n1", "c", "10.244.1.2", 1)}, ""},
		{"one has finished", []state.Pod{finished, pod("n1", "b", "10.244.1.2", 2)}, ""},
		{"one is being deleted", []state.Pod{leaving, pod("n1", "b", "10.244.1.2", 2)}, ""},
		{"one is on the host's network", []state.Pod{onHost, pod("n1", "b", "10.244.1.2", 2)}, ""},
		{"two addresses with one port number", []state.Pod{pod("n1", "a", "192.168.0.1", 1), pod("n1", "b", "192.177.8.72", 2)}, "port 52554: default/a loses it to default/b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := state.State{Node: "n1", Nodes: nodes, Pods: c.pods}
			for range 2 {
				s.Attachments = render.Attachments(s)
				var got []string
				for _, f := range render.Tables(s).Conflicts {
					got = append(got, f.String())
				}
				if strings.Join(got, "\n") != c.want {
					t.Errorf("conflicts %q, want %q", got, c.want)
				}
				slices.Reverse(s.Pods)
			}
		})
	}
}

func TestPortsThatAreNotToldYetDoNotConflict(t *testing.T) {
	s := state.State{Node: "n1", Attachments: []state.Attachment{{ContainerID: "c1"}, {ContainerID: "c2"}}}
	if got := render.Tables(s).Conflicts; len(got) > 0 {
		t.Errorf("conflicts %v", got)
	}
}
