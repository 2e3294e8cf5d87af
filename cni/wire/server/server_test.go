package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/test/slow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what should take no time.
const patience = 10 * time.Second

// start runs a server with a handler; stop ends it and tells Serve's error.
func start(t *testing.T, h Handler, adjust ...func(*server)) (path string, stop func() error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "cni.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{handler: h, log: slog.New(slog.DiscardHandler), readTimeout: defaultReadTimeout, receiptAfter: wire.ReceiptAfter}
	for _, a := range adjust {
		a(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.serve(ctx, l) }()
	stop = func() error {
		cancel()
		select {
		case err := <-served:
			served <- err
			return err
		case <-time.After(patience):
			t.Error("the server does not stop")
			return nil
		}
	}
	t.Cleanup(func() { stop() })
	return path, stop
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func ask(t *testing.T, path string, req *wire.Request) *wire.Response {
	t.Helper()
	c := dial(t, path)
	if err := wire.WriteRequest(c, req); err != nil {
		t.Fatal(err)
	}
	resp, err := wire.ReadResponse(c)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestWhatAHandlerReturnsIsTheResponse(t *testing.T) {
	for name, c := range map[string]struct {
		handler Handler
		want    wire.Response
	}{
		"a result": {
			func(_ context.Context, r *wire.Request) (any, error) {
				return map[string]string{"got": r.ContainerID}, nil
			},
			wire.Response{Result: []byte(`{"got":"c1"}`)},
		},
		"nothing": {
			func(context.Context, *wire.Request) (any, error) { return nil, nil },
			wire.Response{},
		},
		"a CNI error, wrapped": {
			func(context.Context, *wire.Request) (any, error) {
				return nil, fmt.Errorf("in short: %w", types.NewError(7, "mtu: bad", "details"))
			},
			wire.Response{Error: &wire.Error{Code: 7, Msg: "mtu: bad", Details: "details"}},
		},
		"an error of the wire": {
			func(context.Context, *wire.Request) (any, error) { return nil, &wire.Error{Code: 11, Msg: "later"} },
			wire.Response{Error: &wire.Error{Code: 11, Msg: "later"}},
		},
		"any other error": {
			func(context.Context, *wire.Request) (any, error) { return nil, errors.New("no space") },
			wire.Response{Error: &wire.Error{Code: 999, Msg: "no space"}},
		},
		"a panic": {
			func(context.Context, *wire.Request) (any, error) { panic("oops") },
			wire.Response{Error: &wire.Error{Code: 999, Msg: "the agent failed at ADD (panic: oops)", Details: "this is a bug in Sluice; the agent's log has the stack"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := start(t, c.handler)
			got := ask(t, path, &wire.Request{Command: wire.Add, ContainerID: "c1"})
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAResultThatCannotBeSentBecomesAnError(t *testing.T) {
	for name, result := range map[string]any{
		"too large":    strings.Repeat("a", wire.MaxMessage),
		"not for JSON": func() {},
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := start(t, func(context.Context, *wire.Request) (any, error) { return result, nil })
			if got := ask(t, path, &wire.Request{}); got.Error == nil || got.Error.Code != wire.CodeInternal {
				t.Errorf("response is %+v", got)
			}
		})
	}
}

// waiting is a handler that waits for its context and tells why it ended.
func waiting() (h Handler, began chan struct{}, cause chan error) {
	began, cause = make(chan struct{}), make(chan error, 1)
	return func(ctx context.Context, _ *wire.Request) (any, error) {
		close(began)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil, context.Cause(ctx)
	}, began, cause
}

func want(t *testing.T, cause chan error, want error) {
	t.Helper()
	select {
	case got := <-cause:
		if !errors.Is(got, want) {
			t.Errorf("the handler's context ended by %v, want %v", got, want)
		}
	case <-time.After(patience):
		t.Error("the handler's context does not end")
	}
}

func TestAHandlersContextEndsWhenTheClientHangsUp(t *testing.T) {
	h, began, cause := waiting()
	path, _ := start(t, h)
	c := dial(t, path)
	if err := wire.WriteRequest(c, &wire.Request{}); err != nil {
		t.Fatal(err)
	}
	<-began
	c.Close()
	want(t, cause, ErrHungUp)
}

func TestAHandlersContextEndsWithTheClientsTimeout(t *testing.T) {
	h, _, cause := waiting()
	path, _ := start(t, h)
	got := ask(t, path, &wire.Request{TimeoutMS: 50})
	want(t, cause, context.DeadlineExceeded)
	if got.Error == nil {
		t.Error("there is no error in the response")
	}
}

func TestAClientThatWantsOneGetsAReceiptWhenItTakesLong(t *testing.T) {
	for name, c := range map[string]struct{ wants, slow, received bool }{
		"it takes long":                  {true, true, true},
		"it takes no time":               {true, false, false},
		"it takes long, and nobody asks": {false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			after := time.Hour
			if c.slow {
				after = time.Millisecond
			}
			path, _ := start(t, func(context.Context, *wire.Request) (any, error) {
				if c.slow {
					time.Sleep(50 * time.Millisecond)
				}
				return "done", nil
			}, func(s *server) { s.receiptAfter = after })
			conn := dial(t, path)
			if err := wire.WriteRequest(conn, &wire.Request{Receipt: c.wants}); err != nil {
				t.Fatal(err)
			}
			var got []bool
			for len(got) == 0 || got[len(got)-1] {
				resp, err := wire.ReadResponse(conn)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, resp.Received)
			}
			if (len(got) == 2) != c.received {
				t.Errorf("receipts: %v", got)
			}
		})
	}
}

// TestARequestWhoseClientHasGoneIsNotBegun: an agent that hung finds such requests.
func TestARequestWhoseClientHasGoneIsNotBegun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cni.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // nobody accepts yet
		c := dial(t, path)
		if err := wire.WriteRequest(c, &wire.Request{Command: wire.Add}); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	begun := make(chan string, 100)
	go func() {
		served <- Serve(ctx, l, func(_ context.Context, r *wire.Request) (any, error) {
			begun <- r.Command
			return nil, nil
		}, slog.New(slog.DiscardHandler))
	}()
	ask(t, path, &wire.Request{Command: wire.Status})
	cancel()
	<-served
	close(begun)
	for command := range begun {
		if command != wire.Status {
			t.Errorf("%s was begun", command)
		}
	}
}

func TestStoppingEndsHandlersAndDeliversTheirResponses(t *testing.T) {
	h, began, cause := waiting()
	path, stop := start(t, h)
	c := dial(t, path)
	if err := wire.WriteRequest(c, &wire.Request{}); err != nil {
		t.Fatal(err)
	}
	<-began
	if err := stop(); err != nil {
		t.Errorf("Serve returns %v", err)
	}
	want(t, cause, ErrStopping)
	if resp, err := wire.ReadResponse(c); err != nil || resp.Error == nil || resp.Error.Msg != ErrStopping.Error() {
		t.Errorf("response %+v, error %v", resp, err)
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("somebody still listens")
	}
}

func TestAClientThatSaysNothingIsSentAway(t *testing.T) {
	for name, said := range map[string]string{
		"at all":           "",
		"after a length":   "\x00\x00\x00\x05",
		"after half of it": "\x00\x00\x00\x05{\"a",
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := start(t, nil, func(s *server) { s.readTimeout = 50 * time.Millisecond })
			c := dial(t, path)
			io.WriteString(c, said)
			if resp, err := wire.ReadResponse(c); err != nil || resp.Error == nil || resp.Error.Code != wire.CodeIOFailure {
				t.Errorf("response %+v, error %v", resp, err)
			}
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the connection is still there: %v", err)
			}
		})
	}
}

func TestASilentClientDoesNotDelayStopping(t *testing.T) {
	path, stop := start(t, nil)
	dial(t, path)
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	stop()
	if took := time.Since(began); took > slow.Bound(defaultReadTimeout/2) {
		t.Errorf("stopping took %v", took)
	}
}

func TestARequestThatIsTooLargeIsRefusedInWords(t *testing.T) {
	path, _ := start(t, nil)
	c := dial(t, path)
	go c.Write(append([]byte("\x00\x20\x00\x00"), make([]byte, 2<<20)...))
	resp, err := wire.ReadResponse(c)
	if err != nil || resp.Error == nil || !strings.Contains(resp.Error.Msg, "2097152 bytes, the most is 1048576") {
		t.Errorf("response %+v, error %v", resp, err)
	}
}

func TestManyClientsAreServedAtOnce(t *testing.T) {
	const n = 50
	all := make(chan struct{})
	arrived := make(chan struct{}, n)
	path, _ := start(t, func(_ context.Context, r *wire.Request) (any, error) {
		arrived <- struct{}{}
		<-all
		return r.ContainerID, nil
	})
	got := make(chan string, n)
	for i := range n {
		go func() {
			c, err := net.Dial("unix", path)
			if err != nil {
				got <- err.Error()
				return
			}
			defer c.Close()
			wire.WriteRequest(c, &wire.Request{ContainerID: fmt.Sprint(i)})
			resp, err := wire.ReadResponse(c)
			if err != nil {
				got <- err.Error()
				return
			}
			if string(resp.Result) != fmt.Sprintf("%q", fmt.Sprint(i)) {
				got <- fmt.Sprintf("client %d got %s", i, resp.Result)
				return
			}
			got <- ""
		}()
	}
	for range n {
		<-arrived
	}
	close(all)
	for range n {
		if wrong := <-got; wrong != "" {
			t.Error(wrong)
		}
	}
}
