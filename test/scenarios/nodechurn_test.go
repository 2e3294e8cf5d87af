package scenarios

import (
	"fmt"
	"testing"

	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/traffic"
)

// TestNodesThatComeAndGoCostOthersNothing: pods of two nodes lose nothing while other nodes join, claim what
// another has, and leave.
func TestNodesThatComeAndGoCostOthersNothing(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2})
	reached(t, l, "a1", "a2")
	a1, a2 := pod(t, l, "a1"), pod(t, l, "a2")
	n1 := node(t, l, "n1")
	streams := []*traffic.Stream{
		traffic.Ping(t, "there", a1.Netns, a2.Addresses[0]), traffic.Ping(t, "back", a2.Netns, a1.Addresses[0]),
	}
	for _, s := range streams {
		s.Begin()
	}
	for i := range 4 {
		free := fmt.Sprintf("10.244.%d.0/24", 100+i)
		for _, is := range []string{
			otherNode(n1.PodCIDRs[0], ""), otherNode(free, "10.9.0.66"), otherNode(n1.PodCIDRs[0], "10.9.0.66"), otherNode(free, n1.Addresses[0].String()), "",
		} {
			for _, n := range []string{"n1", "n2"} {
				known(t, node(t, l, n), is)
			}
		}
	}
	for _, s := range streams {
		s.End(t)
	}
}

func otherNode(podCIDR, address string) string {
	node := "apiVersion: v1\nkind: Node\nmetadata: {name: other}\nspec: {podCIDRs: [" + podCIDR + "]}\n"
	if address == "" { // its kubelet has said nothing yet
		return node
	}
	return node + "status: {addresses: [{type: InternalIP, address: " + address + "}], conditions: [{type: Ready, status: \"True\"}]}\n"
}
