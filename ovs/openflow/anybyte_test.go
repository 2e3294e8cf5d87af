package openflow

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestEveryRequestHasABoundAndAnErrorThatNamesIt spoils the answers to one kind of
// request after the other.
func TestEveryRequestHasABoundAndAnErrorThatNamesIt(t *testing.T) {
	noLeak(t)
	multipart := func(typ uint16) func(message) bool {
		return func(m message) bool {
			return m.kind == kindMultipartRequest && binary.BigEndian.Uint16(m.body) == typ
		}
	}
	of := func(k kind) func(message) bool { return func(m message) bool { return m.kind == k } }
	spoils := map[string]func(m message) []byte{
		"nothing":  func(message) []byte { return nil },
		"an error": func(m message) []byte { return reply(kindError, m.xid, 0, 1, 0, 5) },
		"garbage":  func(m message) []byte { return reply(kindMultipartReply, m.xid, []byte("this is no answer at all")...) },
		"half an entry": func(m message) []byte {
			return reply(kindMultipartReply, m.xid, append(bytes.Clone(m.body[:8]), 0, 9, 0)...)
		},
		"an entry of no length": func(m message) []byte {
			return reply(kindMultipartReply, m.xid, append(bytes.Clone(m.body[:8]), make([]byte, 8)...)...)
		},
		"another kind": func(m message) []byte { return reply(kindFeaturesReply, m.xid) },
	}
	for what, tc := range map[string]struct {
		is   func(message) bool
		only string // the one spoil that is to be noticed; empty: all
	}{
		"watch the flows":              {multipart(multipartFlowMonitor), ""},
		"dump flows":                   {multipart(multipartFlowDesc), ""},
		"dump groups":                  {multipart(multipartGroupDesc), ""},
		"dump meters":                  {multipart(multipartMeterDesc), ""},
		"ask for the meters' features": {multipart(multipartMeterFeatures), ""},
		"read the meters' counters":    {multipart(multipartMeterStats), ""},
		"read the groups' counters":    {multipart(multipartGroupStats), ""},
		"read the tables' counters":    {multipart(multipartTableStats), ""},
		"read the ports' counters":     {multipart(multipartPortStats), ""},
		"describe the ports":           {multipart(multipartPortDesc), ""},
		"receive packets: wait until":  {of(kindBarrierRequest), "nothing"},
		"receive packets":              {of(kindSetAsync), "an error"},
		"put 1 meters":                 {of(kindMeterMod), "an error"},
		"send a packet":                {of(kindPacketOut), "an error"},
		"wait for a packet: none came": {of(kindPacketOut), "nothing"},
		"resume a packet":              {func(m message) bool { return m.kind == kindExperimenter && m.body[7] == byte(niciraResume) }, "an error"},
	} {
		for with, spoil := range spoils {
			if tc.only != "" && tc.only != with {
				continue
			}
			t.Run(what+" answered by "+with, func(t *testing.T) {
				t.Parallel()
				err := converse(t, fakeSwitch(t, answering(func(m message) []byte {
					if tc.is(m) {
						return spoil(m)
					}
					return wellBehaved(m)
				})))
				tolerable := with == "an entry of no length" && strings.Contains(what, "tables") // 8 bytes are less than one
				if err == nil && !tolerable || err != nil && !strings.Contains(err.Error(), what) {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// TestMalformedNewsEndsNothing: what comes unasked and cannot be read is dropped, and
// of the flows a dump is asked for.
func TestMalformedNewsEndsNothing(t *testing.T) {
	noLeak(t)
	var ours []byte
	for _, name := range []string{"nicira-30", "packet-in", "multipart-16-unasked"} {
		whole := recordings()[name]
		for n := headerLen; n < len(whole); n++ {
			b := bytes.Clone(whole[:n])
			binary.BigEndian.PutUint16(b[2:], uint16(n))
			ours = append(ours, b...)
		}
	}
	c, err := dial(t.Context(), fakeSwitch(t, answering(func(m message) []byte {
		if m.kind == kindPacketOut {
			return ours
		}
		return wellBehaved(m)
	})), nil, quick)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	packets, err := c.Packets(t.Context(), ReasonAction)
	if err != nil {
		t.Fatal(err)
	}
	events, err := c.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SendPacket(t.Context(), somePacket); err != nil {
		t.Fatal(err)
	}
	if c.PacketsDropped() == 0 || len(packets) == 0 {
		t.Errorf("%d packets, %d dropped", len(packets), c.PacketsDropped())
	}
	if e := arrives(t, events); e.Kind != FlowsResync {
		t.Errorf("%+v", e)
	}
}

// TestSwitchMayCloseAtAnyByte cuts the switch's half of a conversation everywhere.
func TestSwitchMayCloseAtAnyByte(t *testing.T) {
	noLeak(t)
	for n := 0; ; n++ {
		left := n
		err := converse(t, fakeSwitch(t, func(nc net.Conn) {
			frames := newFrameReader(nc)
			for {
				m, err := frames.next()
				if err != nil {
					return
				}
				b := wellBehaved(m)
				if len(b) > left {
					nc.Write(b[:left])
					return
				}
				left -= len(b)
				nc.Write(b)
			}
		}))
		if err == nil {
			t.Logf("the switch says %d bytes", n)
			if n < 1000 {
				t.Errorf("no error after %d bytes", n)
			}
			return
		}
		if n > 10_000 {
			t.Fatalf("it never has enough: %v", err)
		}
	}
}

// TestAnyByteOfTheSwitchMayBeWrong lets no call hang, nor anything panic. Most of the
// time goes by waiting, so many conversations are held at once.
func TestAnyByteOfTheSwitchMayBeWrong(t *testing.T) {
	noLeak(t)
	var together errgroup.Group
	together.SetLimit(100)
	for n := range 1600 {
		together.Go(func() error {
			at := 0
			converse(t, fakeSwitch(t, answering(func(m message) []byte {
				b := bytes.Clone(wellBehaved(m))
				if i := n - at; i >= 0 && i < len(b) {
					b[i] ^= 1 << (n * 5 % 8)
				}
				at += len(b)
				return b
			})))
			return nil
		})
	}
	together.Wait()
}
