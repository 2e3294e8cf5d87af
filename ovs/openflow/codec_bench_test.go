package openflow

import (
	"bytes"
	"testing"

	"github.com/sluice-cni/sluice/flows"
)

// BenchmarkDecode and BenchmarkEncode are the codec's own time a flow, without
// the switch.
func BenchmarkDecode(b *testing.B) {
	m := message{kind: kindMultipartReply, body: oneFlow(1)[headerLen:]}
	head, desc := m.body[:8], m.body[8:]
	const many = 1000
	m.body = append(bytes.Clone(head), bytes.Repeat(desc, many)...)
	b.ReportAllocs()
	for b.Loop() {
		list := make([]Entry, 0, many)
		if _, err := decodePart(m, multipartFlowDesc, &list, (*decoder).flowDesc); err != nil || len(list) != many {
			b.Fatal(len(list), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/flow")
}

func BenchmarkEncode(b *testing.B) {
	f := someFlow
	f.Actions = []flows.Action{flows.Set(flows.Reg1, flows.Uint(7)), flows.Goto{Table: 4}}
	var e encoder
	b.ReportAllocs()
	for b.Loop() {
		e.b = e.b[:0]
		e.addFlow(1, f)
	}
}
