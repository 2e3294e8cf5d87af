package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheTableTellsRatiosAndTheAim(t *testing.T) {
	rates := func(tcpRate, udpRate float64) map[kind][]float64 {
		return map[kind][]float64{tcp: {tcpRate - 10, tcpRate + 30, tcpRate}, udp: {udpRate}}
	}
	var out strings.Builder
	err := writeTable(&out, []race{
		{"same-node", "same node", []way{{name: "sluice", rates: rates(900, 100)}, {name: "linux bridge", rates: rates(1000, 100)}, {name: static, rates: rates(1000, 100)}}},
		{"across", "across nodes", []way{{name: "sluice", rates: rates(300, 50)}, {name: "linux vxlan", rates: rates(200, 100)}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `medians (lowest to highest round)               sluice            peer                                 ratio
same node, TCP                     Mbit/s       900 (890 to 930)  linux bridge     1000 (990 to 1030)  0.90
same node, TCP                     Mbit/s       900 (890 to 930)  one static flow  1000 (990 to 1030)  0.90
same node, UDP, 64 bytes           datagrams/s  100 (100 to 100)  linux bridge     100 (100 to 100)    1.00
same node, UDP, 64 bytes           datagrams/s  100 (100 to 100)  one static flow  100 (100 to 100)    1.00
across nodes, TCP                  Mbit/s       300 (290 to 330)  linux vxlan      200 (190 to 230)    1.50
across nodes, UDP, 64 bytes        datagrams/s  50 (50 to 50)     linux vxlan      100 (100 to 100)    0.50
Aim: within 5% of one static flow on one node (a ratio of 0.95 or more), once the flow cache is warm. TCP: 0.90, missed; UDP, 64 bytes: 1.00, reached.
The aim counts as reached or missed only where all rounds say so: a busy machine moves single ones a lot.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTheAimIsDecidedOnlyIfAllRoundsAgree(t *testing.T) {
	for _, c := range []struct {
		ours, theirs []float64
		want         string
	}{
		{[]float64{96, 50}, []float64{100, 40}, "reached"},
		{[]float64{90, 40}, []float64{100, 50}, "missed"},
		{[]float64{92, 160}, []float64{100, 40}, "not decided (single rounds: 0.92 to 4.00)"},
	} {
		if got := verdict(c.ours, c.theirs); got != c.want {
			t.Errorf("%v beside %v: %s, want %s", c.ours, c.theirs, got, c.want)
		}
	}
}
