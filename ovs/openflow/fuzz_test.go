package openflow

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows"
)

// FuzzDecode gives any bytes to everything that decodes. What comes out as a flow
// must go in again and mean the same.
func FuzzDecode(f *testing.F) {
	f.Add(hello())
	f.Add(oneFlow(1))
	f.Add(reply(kindError, 1, 0, 4, 0, 9))
	f.Add(reply(kindBundleControl, 1, 0, 0, 0, 1, 0, 3, 0, 0))
	f.Add(reply(kindMultipartReply, 1, append(be16(multipartGroupDesc), make([]byte, 6)...)...))
	f.Add(groupReply(someGroup))
	for _, b := range recordings() {
		f.Add(b)
	}
	for _, b := range corpus(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frames := newFrameReader(bytes.NewReader(b))
		for {
			m, err := frames.next()
			if err != nil {
				return
			}
			decodeAll(t, m)
		}
	})
}

// corpus is dumps of the flows and groups of testdata/corpus, one each.
func corpus(t testing.TB) (out [][]byte) {
	files, err := filepath.Glob("testdata/corpus/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if g, err := flows.ParseGroup(line); err == nil {
				out = append(out, groupReply(g))
			} else if f, _, err := flows.Parse(line); err == nil {
				out = append(out, flowReply(1, f))
			} else {
				t.Fatal(err)
			}
		}
	}
	return out
}

func decodeAll(t *testing.T, m message) {
	_ = checkHello(m)
	_ = decodeError(m.body).Error()
	decodeUnasked(t, m)
	m.kind = kindMultipartReply
	decodeStatistics(m)
	var meters []MeterEntry
	decodePart(m, multipartMeterDesc, &meters, (*decoder).meterDesc)
	for _, entry := range meters {
		if entry.Strange != "" {
			continue
		}
		var e encoder
		e.meterMod(1, meterAdd, entry.Meter)
		if again, err := flows.ParseMeter(entry.Meter.String()); e.err != nil || err != nil || !again.Equal(entry.Meter) {
			t.Fatalf("%v: %v, %v comes back as %v", entry.Meter, e.err, err, again)
		}
	}
	var groups []GroupEntry
	decodePart(m, multipartGroupDesc, &groups, (*decoder).groupDesc)
	for _, g := range groups {
		if again, err := flows.ParseGroup(g.Group.String()); err != nil || !again.Equal(g.Group) {
			t.Fatalf("%v comes back as %v: %v", g.Group, again, err)
		}
	}
	var list []Entry
	decodePart(m, multipartFlowDesc, &list, (*decoder).flowDesc)
	for _, entry := range list {
		var e encoder
		e.removeFlow(1, entry)
		if e.err != nil {
			t.Fatalf("%v %s cannot be removed: %v", entry.Flow, entry.Strange, e.err)
		}
		if entry.Strange != "" {
			continue
		}
		e = encoder{}
		e.match(entry.Flow.Match)
		at := len(e.b)
		e.instructions(entry.Flow.Actions)
		if e.err != nil {
			t.Fatalf("%v cannot be encoded: %v", entry.Flow, e.err)
		}
		d := decoder{b: e.b[:at]}
		match, _, strange := d.match()
		d.b = e.b[at:]
		actions, odd := d.instructions()
		again := entry.Flow
		again.Match, again.Actions = match, actions
		if d.err != nil || strange+odd != "" || !again.Equal(entry.Flow) {
			t.Fatalf("%v comes back as %v: %v %s%s", entry.Flow, again, d.err, strange, odd)
		}
		if again, _, err := flows.Parse(entry.Flow.String()); err != nil || !again.Equal(entry.Flow) {
			t.Fatalf("%v is parsed as %v: %v", entry.Flow, again, err)
		}
	}
}

// decodeStatistics reads counters and descriptions, which may hold anything.
func decodeStatistics(m message) {
	decodePart(m, multipartMeterStats, new([]MeterStats), (*decoder).meterStats)
	decodePart(m, multipartMeterFeatures, new([]MeterFeatures), (*decoder).meterFeatures)
	decodePart(m, multipartGroupStats, new([]GroupStats), (*decoder).groupStats)
	decodePart(m, multipartTableStats, new([]TableStats), (*decoder).tableStats)
	decodePart(m, multipartPortStats, new([]PortStats), (*decoder).portStats)
	decodePart(m, multipartPortDesc, new([]Port), (*decoder).portDesc)
}

// decodeUnasked gives a message to a connection as news. A packet that comes in must
// be fit to go out again, and then be the same.
func decodeUnasked(t *testing.T, m message) {
	c := &Conn{log: slog.New(slog.DiscardHandler), packets: make(chan PacketIn, 1)}
	c.watch.ch = make(chan FlowEvent, waitingEvents+1)
	for range 2 {
		c.unasked(m)
	}
	for len(c.watch.ch) > 0 {
		e := <-c.watch.ch
		_ = e.Kind.String() + e.Flow.String()
	}
	if len(c.packets) == 0 {
		return
	}
	p := <-c.packets
	var e encoder
	if e.resume(1, p); e.err != nil {
		t.Fatalf("%+v cannot be resumed: %v", p, e.err)
	}
	d := decoder{b: e.b[headerLen+8:]}
	again := d.packetIn2()
	if d.err != nil || !again.Fields.Equal(p.Fields) || !bytes.Equal(again.Packet, p.Packet) || !bytes.Equal(again.unknown, p.unknown) ||
		again.Table != p.Table || again.Cookie != p.Cookie || again.Reason != p.Reason || !bytes.Equal(again.continuation, p.continuation) {
		t.Fatalf("%+v comes back as %+v: %v", p, again, d.err)
	}
}

// someGroup is any.
var someGroup = flows.Group{ID: 1, Method: "hash", Fields: []flows.Field{flows.IPv4Src}, Buckets: []flows.Bucket{{ID: 1, Weight: 3, Actions: []flows.Action{flows.OutputTo{Port: 1}}}}}

// groupReply is a dump of one group, as Open vSwitch sends it.
func groupReply(g flows.Group) []byte {
	var e encoder
	start := e.begin(kindMultipartReply, 1)
	e.u16(multipartGroupDesc)
	e.zero(6)
	desc := len(e.b)
	e.u16(0)
	e.groupType(g.Type)
	e.zero(1)
	e.u32(g.ID)
	e.u16(0)
	e.zero(6)
	buckets := len(e.b)
	for _, b := range g.Buckets {
		e.bucket(b, g.Type)
	}
	e.length(desc+8, buckets)
	e.selection(g)
	e.length(desc, desc)
	e.end(start)
	return e.b
}

func TestGroupReplyDecodes(t *testing.T) {
	noLeak(t)
	var list []GroupEntry
	m := message{kind: kindMultipartReply, body: groupReply(someGroup)[headerLen:]}
	if _, err := decodePart(m, multipartGroupDesc, &list, (*decoder).groupDesc); err != nil || len(list) != 1 || list[0].Strange != "" {
		t.Fatalf("%v %+v", err, list)
	}
}

// TestEveryFieldHasItsNumber finds fields that are not told apart on the wire or in text.
func TestEveryFieldHasItsNumber(t *testing.T) {
	noLeak(t)
	names := map[string]flows.Field{}
	for f := range flows.NumFields {
		for _, h := range []oxmHeader{headers[f], headers[f].withMask()} {
			if got, ok := h.field(); !ok || got != f {
				t.Errorf("%s: %s is %v", f.Name(), h, got)
			}
		}
		if id, ok := f.NXM(); ok {
			if got, ok := headerOf(id, f.Width()).field(); !ok || got != f {
				t.Errorf("%s: %+v is %v", f.Name(), id, got)
			}
		}
		if other, twice := names[f.Name()]; twice || f.Name() == "" || f.Bits() == 0 || f.Width() == 0 {
			t.Errorf("%s is field %d and field %d, of %d bits", f.Name(), other, f, f.Bits())
		}
		names[f.Name()] = f
	}
}

func TestErrorsHaveTheirNames(t *testing.T) {
	noLeak(t)
	for want, e := range map[string]Error{
		"OFPHFC_EPERM":                    {Type: 0, Code: 1},
		"OFPBRC_UNKNOWN":                  {Type: 1, Code: 18},
		"OFPBAC_BAD_OUT_PORT":             {Type: 2, Code: 4},
		"OFPBMC_BAD_PREREQ":               {Type: 4, Code: 9},
		"OFPFMFC_TABLE_FULL":              {Type: 5, Code: 1},
		"OFPGMFC_BUCKET_EXISTS":           {Type: 6, Code: 16},
		"OFPBFC_MSG_FAILED":               {Type: 17, Code: 13},
		"OFPET_BUNDLE_FAILED code 99":     {Type: 17, Code: 99},
		"error type 40 code 2":            {Type: 40, Code: 2},
		"OFPET_EXPERIMENTER 0x00002320:7": {Type: 0xffff, Code: 7, Vendor: 0x2320},
	} {
		if got := e.Name(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
