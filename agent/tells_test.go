package agent

import (
	"testing"

	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// TestAPodIsToldByItsOwnNode, of a conflict that both nodes see.
func TestAPodIsToldByItsOwnNode(t *testing.T) {
	c := claims.Conflict{On: claims.OnAddress, Key: "10.244.1.2", Loser: claims.Object{Kind: claims.KindPod, Namespace: "default", Name: "a", UID: "u1"}}
	for node, want := range map[string]bool{"n1": true, "n2": false} {
		s := state.State{Node: node, Pods: []state.Pod{{Namespace: "default", Name: "a", UID: "u1", Node: "n1"}}}
		if got := tells(s, c); got != want {
			t.Errorf("%s tells: %v", node, got)
		}
	}
	taken := claims.Conflict{On: claims.OnServiceAddress, Loser: claims.Object{Kind: claims.KindService, Namespace: "default", Name: "a"}}
	nodes := []state.Node{{Name: "n0"}, {Name: "n2", Ready: true}, {Name: "n1", Ready: true}}
	for node, want := range map[string]bool{"n0": false, "n1": true, "n2": false} {
		if got := tells(state.State{Node: node, Nodes: nodes}, taken); got != want {
			t.Errorf("%s tells a Service: %v", node, got)
		}
	}
	if !tells(state.State{Node: "n2"}, c) {
		t.Error("an attachment without an object is told by nobody")
	}
}
