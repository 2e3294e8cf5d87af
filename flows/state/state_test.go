package state_test

import (
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows/state"
)

func TestCompareKeys(t *testing.T) {
	keys := [][2]string{{"a", "x"}, {"a", "y"}, {"a-b", "x"}, {"a0", "x"}, {"ab", "a"}, {"b", ""}, {"", "b"}}
	for _, a := range keys {
		for _, b := range keys {
			if got, want := state.CompareKeys(a[0], a[1], b[0], b[1]), strings.Compare(a[0]+"/"+a[1], b[0]+"/"+b[1]); got != want {
				t.Errorf("%v and %v: %d, want %d", a, b, got, want)
			}
		}
	}
}
