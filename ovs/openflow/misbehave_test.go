package openflow

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows"
)

// talk dials and calls everything; it returns the first error. It must return
// soon, whatever the switch does.
func talk(t *testing.T, socket string) error {
	t.Helper()
	start := time.Now()
	defer func() {
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("it took %v", d)
		}
	}()
	c, err := dial(t.Context(), socket, nil, quick)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Apply(t.Context(), Change{Add: []flows.Flow{someFlow}}); err != nil {
		return err
	}
	if _, err := c.Dump(t.Context()); err != nil {
		return err
	}
	return c.Barrier(t.Context())
}

// converse is talk about everything.
func converse(t *testing.T, socket string) error {
	t.Helper()
	start := time.Now()
	defer func() {
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("it took %v", d)
		}
	}()
	c, err := dial(t.Context(), socket, nil, quick)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*quick.answer)
	defer cancel()
	return everything(ctx, c, func(PacketIn) {})
}

func TestWellBehavedSwitch(t *testing.T) {
	noLeak(t)
	if err := converse(t, fakeSwitch(t, answering(wellBehaved))); err != nil {
		t.Error(err)
	}
	if err := talk(t, fakeSwitch(t, answering(wellBehaved))); err != nil {
		t.Fatal(err)
	}
}

func TestSwitchThatMisbehavesIsAClearError(t *testing.T) {
	noLeak(t)
	write := func(b ...byte) func(net.Conn) {
		return func(nc net.Conn) {
			nc.Write(b)
			io.Copy(io.Discard, nc)
		}
	}
	silent := func(message) []byte { return nil }
	garbage := func(m message) []byte { return reply(kindMultipartReply, m.xid, []byte("this is no answer at all")...) }
	refuse := func(m message) []byte {
		return reply(kindError, m.xid, 0, 1, 0, 5)
	}
	other := func(m message) []byte { return reply(kindEchoReply, m.xid) }
	control := func(typ uint16, answer func(m message) []byte) func(net.Conn) {
		return except(kindBundleControl, func(m message) []byte {
			if binary.BigEndian.Uint16(m.body[4:]) == typ {
				return answer(m)
			}
			return wellBehaved(m)
		})
	}
	for _, tc := range []struct {
		what   string
		script func(net.Conn)
		want   string // in the error
	}{
		{"says nothing", write(), "wait for its hello"},
		{"closes at once", func(net.Conn) {}, ""},
		{"greets with half a hello", write(hello()[:5]...), "wait for its hello"},
		{"greets with noise", write(bytes.Repeat([]byte{0xff}, 0x10000)...), "OFPT_HELLO"},
		{"greets with something else", write(reply(kindBarrierReply, 1)...), "instead of OFPT_HELLO"},
		{"greets with a length below the header's", write(6, 0, 0, 7, 0, 0, 0, 0), "less than its header"},
		{"greets with an older version", write(4, 0, 0, 8, 0, 0, 0, 0), "only up to version 4: add OpenFlow15"},
		{"greets with a bitmap of older versions", write(6, 0, 0, 16, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0x12), "only up to version 4: add OpenFlow15"},
		{"greets with a bitmap of wrong length", write(6, 0, 0, 16, 0, 0, 0, 0, 0, 1, 0, 90, 0, 0, 0, 0x12), "OFPT_HELLO"},
		{"refuses the hello", write(reply(kindError, 1, 0, 0, 0, 0, 'n', 'o')...), `OFPHFC_INCOMPATIBLE: "no"`},
		{"goes on in another version", except(kindFeaturesRequest, func(m message) []byte { return []byte{4, 6, 0, 8, 0, 0, 0, 1} }), "OpenFlow version 4"},
		{"has short features", except(kindFeaturesRequest, func(m message) []byte { return reply(kindFeaturesReply, m.xid, 1) }), "wait for OFPT_FEATURES_REPLY"},
		{"has no features", except(kindFeaturesRequest, silent), "wait for OFPT_FEATURES_REPLY"},
		{"answers with the wrong transaction", except(kindFeaturesRequest, func(m message) []byte { return reply(kindFeaturesReply, m.xid+1) }), "did not answer in time"},
		{"sends half a message", except(kindMultipartRequest, func(m message) []byte { return oneFlow(m.xid)[:20] }), "silent"},
		{"sends a message shorter than its header", except(kindMultipartRequest, func(m message) []byte { return []byte{6, 19, 0, 1, 0, 0, 0, 1} }), "less than its header"},
		{"dumps garbage", except(kindMultipartRequest, garbage), "dump flows"},
		{"dumps groups instead", except(kindMultipartRequest, func(m message) []byte { return reply(kindMultipartReply, m.xid, 0, 7, 0, 0, 0, 0, 0, 0) }), "type 7 instead of 1"},
		{"refuses the dump", except(kindMultipartRequest, refuse), "dump flows: wait for the rest of the reply after 0 entries: the switch refuses: OFPBRC_EPERM"},
		{"answers the dump with something else", except(kindMultipartRequest, other), "OFPT_ECHO_REPLY instead"},
		{"never dumps", except(kindMultipartRequest, silent), "dump flows: wait for the rest of the reply after 0 entries: the switch did not answer in time"},
		{"never ends the dump", except(kindMultipartRequest, func(m message) []byte {
			b := oneFlow(m.xid)
			b[headerLen+3] |= byte(multipartMore)
			return b
		}), "after 1 entries"},
		{"answers no echo", answering(func(m message) []byte {
			if m.kind == kindEchoRequest || m.kind == kindMultipartRequest {
				return nil
			}
			return wellBehaved(m)
		}), "an echo is not answered"},
		{"refuses a bundle", control(bundleOpen, refuse), "open a bundle: the switch refuses: OFPBRC_EPERM"},
		{"refuses a flow", except(kindBundleAdd, refuse), "table=3, priority=7,in_port=3"},
		{"never takes the flows", control(bundleClose, silent), "wait until the switch has taken 1 messages"},
		{"takes the flows of another bundle", control(bundleClose, func(m message) []byte {
			return reply(kindBundleControl, m.xid, 0, 0, 0, 99, 0, 3, 0, 0)
		}), "answer 3 for bundle 99"},
		{"answers half the close", control(bundleClose, func(m message) []byte { return reply(kindBundleControl, m.xid, 0) }), "OFPT_BUNDLE_CONTROL"},
		{"refuses to commit", control(bundleCommit, refuse), "nothing has been changed: the switch refuses"},
		{"never commits", control(bundleCommit, silent), "commit 1 messages: the connection to the switch is lost"},
		{"closes instead of committing", func(nc net.Conn) {
			frames := newFrameReader(nc)
			for {
				m, err := frames.next()
				if err != nil || (m.kind == kindBundleControl && m.body[5] == byte(bundleCommit)) {
					return
				}
				nc.Write(wellBehaved(m))
			}
		}, "commit 1 messages: the connection to the switch is lost"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			t.Parallel()
			err := talk(t, fakeSwitch(t, tc.script))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
