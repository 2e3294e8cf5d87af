package lease

import (
	"slices"
	"testing"
)

func TestWhatIsOwedIsReadAsItWasWritten(t *testing.T) {
	a, b := Key{"pods", "c1", "eth0"}, Key{"pods", "c1", "net1"}
	ids := map[string]string{
		OwedKey(a): OwedValue(a), OwedKey(b): OwedValue(b), "other": "pods/c1/eth0",
		owedPrefix + "x": "nonsense", owedPrefix + "slc000000000000": "pods/c1/eth0",
	}
	if got := Owed(ids); !slices.Equal(got, []Key{a, b}) {
		t.Errorf("owed are %v", got)
	}
}
