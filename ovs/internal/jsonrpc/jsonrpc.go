// Package jsonrpc asks one question of a daemon that speaks JSON-RPC 1.0 on a
// unix socket, as Open vSwitch's daemons do: unixctl on one socket, OVSDB (RFC
// 7047) on another. It holds no connection; ovs/db has one of its own.
package jsonrpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// RefusedError is the error member of a reply: the daemon understood the request
// and refuses it.
type RefusedError struct {
	// Text is the member's value: the string itself, or other JSON as it came.
	Text string
}

func (e *RefusedError) Error() string { return e.Text }

type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

type request struct {
	ID     int    `json:"id"`
	Method string `json:"method"`
	Params any    `json:"params"`
}

type echoReply struct {
	ID     json.RawMessage `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  any             `json:"error"`
}

// Call connects to the unix socket, sends one request and returns the result of
// its reply. It ends when ctx does, whatever the daemon does; the error is then
// the context's. An answer that is an error is an *RefusedError.
func Call(ctx context.Context, socket, method string, params any) (json.RawMessage, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	result, err := exchange(conn, method, params)
	if ctx.Err() != nil && err != nil && !errors.As(err, new(*RefusedError)) {
		return nil, fmt.Errorf("no answer to %q: %w", method, ctx.Err())
	}
	return result, err
}

func exchange(conn net.Conn, method string, params any) (json.RawMessage, error) {
	out := json.NewEncoder(conn)
	if err := out.Encode(request{ID: 0, Method: method, Params: params}); err != nil {
		return nil, fmt.Errorf("send %q: %w", method, err)
	}
	in := json.NewDecoder(conn)
	for {
		var m message
		if err := in.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the daemon closed the connection")
			}
			return nil, fmt.Errorf("wait for the answer to %q: %w", method, err)
		}
		switch {
		case m.Method == "echo":
			// ovsdb-server's probe; unanswered, it drops the connection.
			if err := out.Encode(echoReply{ID: m.ID, Result: m.Params}); err != nil {
				return nil, fmt.Errorf("answer the daemon's echo: %w", err)
			}
		case m.Method != "":
			// A notification that nobody asked for.
		case len(m.Error) > 0 && !bytes.Equal(m.Error, []byte("null")):
			var text string
			if json.Unmarshal(m.Error, &text) != nil {
				text = string(m.Error)
			}
			return nil, &RefusedError{Text: text}
		default:
			return m.Result, nil
		}
	}
}
