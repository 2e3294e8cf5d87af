package agent

import (
	"testing"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/state"
)

func TestAPodIsWhatItWasUntilItsDEL(t *testing.T) {
	var k keeper
	web := state.Pod{Namespace: "shop", Name: "web", UID: "1", Labels: map[string]string{"app": "web"}}
	other := state.Pod{Namespace: "shop", Name: "db", UID: "2"}
	here := []state.Attachment{{Network: "n", ContainerID: "c", PodNamespace: "shop", PodName: "web", PodUID: "1"}}
	all := []state.Pod{web, other}
	if got := k.pods(all, here); !flows.SameSlice(got, all) {
		t.Errorf("nothing has gone: %v", got)
	}
	left := []state.Pod{other}
	got := k.pods(left, here)
	if len(got) != 2 || got[1].Labels["app"] != "web" || !got[1].Deleting {
		t.Errorf("its object has gone: %v", got)
	}
	if again := k.pods(left, here); !flows.SameSlice(again, got) {
		t.Error("the same is not the same slice")
	}
	// One of its name, but another, changes nothing.
	next := state.Pod{Namespace: "shop", Name: "web", UID: "3"}
	if got := k.pods([]state.Pod{other, next}, here); len(got) != 3 || got[2].UID != "1" {
		t.Errorf("beside its successor: %v", got)
	}
	if got := k.pods(left, nil); !flows.SameSlice(got, left) {
		t.Errorf("after its DEL: %v", got)
	}
	if got := k.pods(left, here); len(got) != 1 {
		t.Errorf("nothing is known any more: %v", got)
	}
}

func TestAPodWithoutAnObjectIsWhatThePredecessorKnew(t *testing.T) {
	here := []state.Attachment{
		{Network: "n", ContainerID: "c", PodNamespace: "shop", PodName: "web", PodUID: "1"},
		{Network: "n", ContainerID: "d", PodNamespace: "shop", PodName: "db", PodUID: "2"},
	}
	now := []state.Pod{{Namespace: "shop", Name: "db", UID: "2"}}
	asked := 0
	k := keeper{recall: func() []state.Pod {
		asked++
		return []state.Pod{
			{Namespace: "shop", Name: "web", UID: "0"},
			{Namespace: "shop", Name: "web", UID: "1", Labels: map[string]string{"app": "web"}},
			{Namespace: "shop", Name: "db", UID: "2", Labels: map[string]string{"app": "old"}},
		}
	}}
	for range 2 {
		got := k.pods(now, here)
		if len(got) != 2 || got[0].Labels != nil || got[1].Labels["app"] != "web" || !got[1].Deleting {
			t.Errorf("%+v", got)
		}
	}
	k.pods(now, append(here, state.Attachment{ContainerID: "e", PodNamespace: "shop", PodName: "new"}))
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	all := keeper{recall: func() []state.Pod { t.Error("asked for nothing"); return nil }}
	all.pods(now, here[1:])
}

func TestWhatHasGoneIsRemembered(t *testing.T) {
	m := newMemory(t.TempDir())
	if got := m.pods(); got != nil {
		t.Errorf("before the first file: %v", got)
	}
	gone := state.Pod{Namespace: "shop", Name: "web", UID: "1", Labels: map[string]string{"app": "web"}}
	there := state.Pod{Namespace: "shop", Name: "db", UID: "2"}
	if err := m.remember(remembered{Version: "v", Objects: source.Objects{Pods: []state.Pod{there}}, Gone: []state.Pod{gone}}); err != nil {
		t.Fatal(err)
	}
	if got := m.pods(); len(got) != 2 || got[0].Labels["app"] != "web" || got[1].UID != "2" {
		t.Errorf("%+v", got)
	}
}
