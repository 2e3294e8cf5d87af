package agent

import (
	"testing"

	"github.com/sluice-cni/sluice/flows/state"
)

func TestAPodIsWhatItWasUntilItsDEL(t *testing.T) {
	var k keeper
	web := state.Pod{Namespace: "shop", Name: "web", UID: "1", Labels: map[string]string{"app": "web"}}
	other := state.Pod{Namespace: "shop", Name: "db", UID: "2"}
	here := []state.Attachment{{Network: "n", ContainerID: "c", PodNamespace: "shop", PodName: "web", PodUID: "1"}}
	all := []state.Pod{web, other}
	if got := k.pods(all, here); !sameSlice(got, all) {
		t.Errorf("nothing has gone: %v", got)
	}
	left := []state.Pod{other}
	got := k.pods(left, here)
	if len(got) != 2 || got[1].Labels["app"] != "web" || !got[1].Deleting {
		t.Errorf("its object has gone: %v", got)
	}
	if again := k.pods(left, here); !sameSlice(again, got) {
		t.Error("the same is not the same slice")
	}
	// One of its name, but another, changes nothing.
	next := state.Pod{Namespace: "shop", Name: "web", UID: "3"}
	if got := k.pods([]state.Pod{other, next}, here); len(got) != 3 || got[2].UID != "1" {
		t.Errorf("beside its successor: %v", got)
	}
	if got := k.pods(left, nil); !sameSlice(got, left) {
		t.Errorf("after its DEL: %v", got)
	}
	if got := k.pods(left, here); len(got) != 1 {
		t.Errorf("nothing is known any more: %v", got)
	}
}
