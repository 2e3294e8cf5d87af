package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/cni/wire"
)

// Handler does what a request asks. It must be safe for concurrent use.
//
// Its context ends when the client hangs up, when the client's timeout has passed,
// or when the server stops; context.Cause tells which: [ErrHungUp],
// context.DeadlineExceeded or [ErrStopping]. A handler that sees it end undoes
// what it has done so far and returns.
//
// The result, if not nil, is marshalled as JSON for the executable to print. An
// error that is (or wraps) a *types.Error or a *wire.Error is answered with its
// code; any other has code 999.
type Handler func(ctx context.Context, req *wire.Request) (result any, err error)

// ErrHungUp is the cause of a handler's cancelled context when the client closed
// its connection without waiting for the response: the runtime has given up.
var ErrHungUp = errors.New("the CNI client hung up")

// ErrStopping is the cause when the server is being stopped.
var ErrStopping = errors.New("the agent is stopping")

const (
	// defaultReadTimeout bounds how long a connection may take to say what it wants.
	defaultReadTimeout = 5 * time.Second
	// writeTimeout bounds how long a client may take to fetch its response.
	writeTimeout = 5 * time.Second
	// acceptPause keeps a lack of file descriptors from becoming a busy loop.
	acceptPause = 50 * time.Millisecond
)

// Serve answers requests until ctx ends, then closes the listener, cancels the
// handlers, waits for them and for their responses to be written, and returns
// nil. Otherwise it returns the listener's error, having waited likewise.
//
// A handler that panics is answered with code 999, and the stack is logged.
func Serve(ctx context.Context, l net.Listener, h Handler, log *slog.Logger) error {
	s := server{handler: h, log: log, readTimeout: defaultReadTimeout, receiptAfter: wire.ReceiptAfter}
	return s.serve(ctx, l)
}

type server struct {
	handler      Handler
	log          *slog.Logger
	readTimeout  time.Duration
	receiptAfter time.Duration
}

func (s *server) serve(ctx context.Context, l net.Listener) error {
	running, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	var connections sync.WaitGroup
	defer connections.Wait()
	defer stop(ErrStopping)
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()

	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept CNI connections at %s: %w", l.Addr(), err)
		case err != nil:
			// Out of descriptors or memory: others may be closed meanwhile.
			s.log.Error("cannot accept a CNI connection", "socket", l.Addr().String(), "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		connections.Go(func() {
			defer conn.Close()
			s.converse(running, conn)
		})
	}
}

// converse is one connection, from its request to its response.
func (s *server) converse(ctx context.Context, conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(s.readTimeout))
	stopReading := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	req, err := wire.ReadRequest(conn)
	if !stopReading() {
		return
	}
	if err != nil {
		s.log.Warn("unusable CNI request", "error", err)
		s.answer(conn, &wire.Response{Error: refusal(err)})
		return
	}

	ctx, hangUp := context.WithCancelCause(ctx)
	defer hangUp(nil)
	conn.SetReadDeadline(time.Time{})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		// A client says no more after its request. What ends this Read is its
		// hanging up, or the deadline that is set below.
		var more [1]byte
		for {
			if _, err := conn.Read(more[:]); err != nil {
				hangUp(ErrHungUp)
				return
			}
		}
	}()
	if hungUp(conn) {
		s.log.Info("CNI client hung up before its request was read", "command", req.Command, "container", req.ContainerID)
		conn.SetReadDeadline(time.Now())
		<-watching
		return
	}
	if t := req.Timeout(); t > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, t)
		defer done()
	}

	received := s.receipt(conn, req)
	resp := s.handle(ctx, req)
	conn.SetReadDeadline(time.Now())
	<-watching
	received()
	s.answer(conn, resp)
}

// receipt tells a client that wants to know that its request is being worked on, when
// it has taken a while. What it returns is called before the answer is written.
func (s *server) receipt(conn net.Conn, req *wire.Request) (end func()) {
	if !req.Receipt {
		return func() {}
	}
	written := make(chan struct{})
	timer := time.AfterFunc(s.receiptAfter, func() {
		defer close(written)
		s.answer(conn, &wire.Response{Received: true})
	})
	return func() {
		if !timer.Stop() {
			<-written
		}
	}
}

// hungUp tells whether the client has closed the connection. An agent that hung for a
// while finds requests whose clients have given up: one that was begun all the same
// could outlive the DEL that followed it.
func hungUp(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ended = n == 0 && err == nil
	})
	return ended || err != nil
}

func (s *server) handle(ctx context.Context, req *wire.Request) (resp *wire.Response) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic in a CNI request", "command", req.Command, "container", req.ContainerID,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			resp = &wire.Response{Error: &wire.Error{
				Code:    wire.CodeInternal,
				Msg:     fmt.Sprintf("the agent failed at %s (panic: %v)", req.Command, p),
				Details: "this is a bug in Sluice; the agent's log has the stack",
			}}
		}
	}()
	result, err := s.handler(ctx, req)
	if err != nil {
		return &wire.Response{Error: asError(err)}
	}
	if result == nil {
		return &wire.Response{}
	}
	text, err := json.Marshal(result)
	if err != nil {
		return &wire.Response{Error: asError(fmt.Errorf("encode result of %s: %w", req.Command, err))}
	}
	return &wire.Response{Result: text}
}

// answer writes the response. A client that is gone or does not read gets none:
// there is nobody to tell, and nothing of the request depends on it.
func (s *server) answer(conn net.Conn, resp *wire.Response) {
	conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	err := wire.WriteResponse(conn, resp)
	if errors.Is(err, wire.ErrTooLarge) {
		err = wire.WriteResponse(conn, &wire.Response{Error: asError(err)})
	}
	if err != nil {
		s.log.Debug("CNI response not delivered", "error", err)
	}
}

// asError is the wire's form of a handler's error.
func asError(err error) *wire.Error {
	var ours *wire.Error
	if errors.As(err, &ours) {
		return ours
	}
	var theirs *types.Error
	if errors.As(err, &theirs) {
		return &wire.Error{Code: theirs.Code, Msg: theirs.Msg, Details: theirs.Details}
	}
	return &wire.Error{Code: wire.CodeInternal, Msg: err.Error()}
}

// refusal is the answer to a request that could not be read.
func refusal(err error) *wire.Error {
	code := wire.CodeIOFailure
	if errors.Is(err, wire.ErrNotJSON) {
		code = wire.CodeDecodingFailure
	}
	return &wire.Error{Code: code, Msg: "the agent could not read the request: " + err.Error()}
}
