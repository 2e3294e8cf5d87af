package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/state/statetest"
)

// What is written after any changes is what json.Marshal makes of it, byte by byte: of all lists of objects, empty
// ones too.
func TestTheLastInputIsWrittenAsAWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	objects := source.ObjectsOf(statetest.Ruled(300, 200))
	objects.Services = []state.Service{{Namespace: "a", Name: "<b>", UID: "1"}}
	objects.EndpointSlices = []state.EndpointSlice{{Namespace: "a", Name: "b-1"}, {Namespace: "a", Name: "b-2"}}
	texts := objectTexts{}
	for i := range 200 {
		changed := reflect.ValueOf(&objects).Elem().Field(r.IntN(reflect.TypeFor[source.Objects]().NumField()))
		switch next := reflect.AppendSlice(reflect.Zero(changed.Type()), changed); {
		case i%37 == 0:
			changed.SetZero()
		case i%41 == 0:
			changed.Set(reflect.MakeSlice(changed.Type(), 0, 0))
		case next.Len() == 0 || i%3 == 0: // some come
			more := reflect.New(changed.Type().Elem()).Elem()
			more.FieldByName("Name").SetString(fmt.Sprintf("new%d", i))
			at := r.IntN(next.Len() + 1)
			changed.Set(reflect.AppendSlice(reflect.Append(next.Slice3(0, at, at), more), next.Slice(at, next.Len())))
		case i%3 == 1: // some go
			from := r.IntN(next.Len())
			to := min(next.Len(), from+1+r.IntN(2*nearby))
			changed.Set(reflect.AppendSlice(next.Slice3(0, from, from), next.Slice(to, next.Len())))
		default: // one is another
			next.Index(r.IntN(next.Len())).FieldByName("Name").SetString(fmt.Sprint("other", i))
			changed.Set(next)
		}
		whole := remembered{Version: fmt.Sprintf("v<%d>", i), Objects: objects}
		if i%2 == 0 {
			whole.Gone = []state.Pod{{Namespace: "gone", Name: "one"}}
		}
		want, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := texts.writeRemembered(&got, whole); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("after %d changes:\n got %s\nwant %s", i+1, got.Bytes(), want)
		}
	}
}

// BenchmarkRemember writes the input of a cluster of 10,000 pods and 1,000 policies, of which five have changed.
func BenchmarkRemember(b *testing.B) {
	objects := source.ObjectsOf(statetest.Ruled(10000, 10000))
	m := newMemory(b.TempDir())
	for i := 0; b.Loop(); i++ {
		pods := slices.Clone(objects.Pods)
		for n := range 5 {
			pods[(i*5+n)*37%len(pods)].Labels = map[string]string{"now": fmt.Sprint(i)}
		}
		objects.Pods = pods
		if err := m.remember(remembered{Version: fmt.Sprint(i), Objects: objects}); err != nil {
			b.Fatal(err)
		}
	}
}
