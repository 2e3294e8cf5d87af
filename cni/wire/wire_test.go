package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/cni/wire"
)

func TestARequestArrivesAsItWasSent(t *testing.T) {
	sent := &wire.Request{
		Command: wire.Add, ContainerID: "c1", NetNS: "/run/netns/a", IfName: "eth0", Args: "K=V", Path: "/opt/cni/bin",
		Config: json.RawMessage(`{"name":"pods"}`), TimeoutMS: 1500, Client: "v1",
	}
	var b bytes.Buffer
	if err := wire.WriteRequest(&b, sent); err != nil {
		t.Fatal(err)
	}
	b.WriteString("what follows")
	// One byte at a time, as a stream may deliver it.
	got, err := wire.ReadRequest(iotest.OneByteReader(&b))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Error(diff)
	}
	if got.Timeout() != 1500*time.Millisecond {
		t.Errorf("timeout is %v", got.Timeout())
	}
	if b.String() != "what follows" {
		t.Errorf("what follows the message has become %q", b.String())
	}
}

func TestAResponseArrivesAsItWasSent(t *testing.T) {
	for name, sent := range map[string]*wire.Response{
		"a result": {Result: json.RawMessage(`{"ips":[]}`)},
		"an error": {Error: &wire.Error{Code: 11, Msg: "later", Details: "soon"}},
		"nothing":  {},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := wire.WriteResponse(&b, sent); err != nil {
				t.Fatal(err)
			}
			got, err := wire.ReadResponse(&b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sent, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAMessageThatIsTooLargeIsNotWritten(t *testing.T) {
	var b bytes.Buffer
	err := wire.WriteRequest(&b, &wire.Request{Args: strings.Repeat("a", wire.MaxMessage)})
	if !errors.Is(err, wire.ErrTooLarge) || b.Len() != 0 {
		t.Errorf("error %v, %d bytes written", err, b.Len())
	}
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		want   error
	}{
		"an empty stream":               {"", io.EOF},
		"half a length":                 {"\x00\x00", io.ErrUnexpectedEOF},
		"a length alone":                {"\x00\x00\x00\x05", io.ErrUnexpectedEOF},
		"half a message":                {"\x00\x00\x00\x05{\"a", io.ErrUnexpectedEOF},
		"a length beyond the bound":     {"\x00\x10\x00\x01", wire.ErrTooLarge},
		"a length of four gigabytes":    {"\xff\xff\xff\xff{}", wire.ErrTooLarge},
		"an empty message":              {"\x00\x00\x00\x00", wire.ErrNotJSON},
		"a message that is not JSON":    {"\x00\x00\x00\x02hi", wire.ErrNotJSON},
		"JSON of another type":          {"\x00\x00\x00\x02[]", wire.ErrNotJSON},
		"a stream of another protocol ": {"GET / HTTP/1.1\r\n\r\n", wire.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := wire.ReadRequest(strings.NewReader(c.stream)); !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
		})
	}
}

func TestMalformedJSONIsFoundByLineAndColumn(t *testing.T) {
	for text, want := range map[string]string{
		"{\n  \"name\": \"é\",,\n}": "line 2, column 15",
		"{\"a\": 1":                 "line 1, column 7",
		"x":                         "line 1, column 1",
		"{}\n}":                     "line 2, column 1",
	} {
		err := wire.CheckJSON([]byte(text))
		if err == nil || err.Code != wire.CodeDecodingFailure || !strings.Contains(err.Msg, want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if err := wire.CheckJSON([]byte(`{"name":"pods"}`)); err != nil {
		t.Errorf("valid JSON is refused: %v", err)
	}
}

func TestHostNamesAreStableAndUnambiguous(t *testing.T) {
	// Written down, since a change would orphan every cable at an upgrade.
	if got := wire.HostName("pods", "c1", "eth0"); got != "slc39a7199053c6" {
		t.Errorf("host name is %q", got)
	}
	seen := map[string]string{}
	for _, key := range [][3]string{{"a", "bc", "d"}, {"ab", "c", "d"}, {"a", "b", "cd"}, {"a", "bc", ""}, {"", "abc", "d"}} {
		name := wire.HostName(key[0], key[1], key[2])
		if len(name) != 15 || !wire.IsHostName(name) {
			t.Errorf("%q is no host name", name)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%v has the name of %v", key, other)
		}
		seen[name] = strings.Join(key[:], "|")
	}
	for _, name := range []string{"", "slc", "slc0123456789a", "slc0123456789abc", "slc0123456789AB", "veth0123456789a"} {
		if wire.IsHostName(name) {
			t.Errorf("%q counts as a host name", name)
		}
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02{}"))
	f.Add([]byte("\x00\x00\x00\x12{\"command\":\"ADD\"}\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		req, err := wire.ReadRequest(bytes.NewReader(stream))
		if (req == nil) == (err == nil) {
			t.Fatalf("request %v and error %v", req, err)
		}
	})
}
