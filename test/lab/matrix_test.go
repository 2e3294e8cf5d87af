package lab

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMatrix(t *testing.T) {
	results := []ProbeResult{
		{From: "default/a", To: "default/b", Protocol: "icmp", Reached: true},
		{From: "default/a", To: "default/b", Port: 80, Protocol: "tcp", Error: "connection refused"},
		{From: "default/a", To: "default/b", Port: 81, Protocol: "tcp", Reached: true},
		{From: "default/a", To: "default/b", Port: 53, Protocol: "udp", Error: "no answer within 2s"},
		{From: "default/a", To: "outside", Protocol: "icmp", Reached: true},
		{From: "default/b", To: "default/a", Protocol: "icmp", Reached: true},
		{From: "default/b", To: "outside", Protocol: "icmp", Error: "no route to host"},
	}
	const want = `from \ to  default/a  default/b  outside
default/a  .          i?-        i
default/b  i          .          -

i icmp, t tcp, u udp reached; - not reached; ? some of the ports reached; . itself
default/a -> default/b:80/tcp: connection refused
default/a -> default/b:53/udp: no answer within 2s
default/b -> outside icmp: no route to host
4 of 7 reached
`
	var got strings.Builder
	if err := WriteMatrix(&got, results); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestMatrixWithManyColumnsNumbersThem(t *testing.T) {
	var results []ProbeResult
	for i := 1; i <= wideColumns+1; i++ {
		results = append(results, ProbeResult{From: "outside", To: fmt.Sprintf("default/p%d", i), Protocol: "icmp", Reached: true})
	}
	var got strings.Builder
	if err := WriteMatrix(&got, results); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"  1 default/p1\n", "  9 default/p9\n", "from \\ to  1    2    3", "outside    i    i    i"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("%q is not in\n%s", want, got.String())
		}
	}
}

func TestMatrixOfNothing(t *testing.T) {
	var got strings.Builder
	if err := WriteMatrix(&got, nil); err != nil || got.String() != "nothing to probe\n" {
		t.Errorf("%q, %v", got.String(), err)
	}
}
