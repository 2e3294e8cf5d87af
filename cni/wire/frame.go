package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxMessage is the longest message in bytes, without its length, in either
// direction.
const MaxMessage = 1 << 20

// ErrTooLarge is returned, wrapped, for a message longer than [MaxMessage].
var ErrTooLarge = errors.New("message too large")

// ErrNotJSON is returned, wrapped, for a message that is complete and is not the
// JSON that was expected.
var ErrNotJSON = errors.New("message is not the expected JSON")

// WriteRequest writes a request with its length in one Write. It returns
// [ErrTooLarge] before anything is written, or the writer's error.
func WriteRequest(w io.Writer, r *Request) error { return write(w, r, "request") }

// ReadRequest reads one request. It returns io.EOF if the stream ends before the
// first byte, io.ErrUnexpectedEOF if it ends later, [ErrTooLarge] as soon as the
// length is read, [ErrNotJSON], or the reader's error. It reads nothing beyond
// the message.
func ReadRequest(r io.Reader) (*Request, error) {
	req := new(Request)
	if err := read(r, req, "request"); err != nil {
		return nil, err
	}
	return req, nil
}

// WriteResponse writes a response; errors as for [WriteRequest].
func WriteResponse(w io.Writer, r *Response) error { return write(w, r, "response") }

// ReadResponse reads one response; errors as for [ReadRequest].
func ReadResponse(r io.Reader) (*Response, error) {
	resp := new(Response)
	if err := read(r, resp, "response"); err != nil {
		return nil, err
	}
	return resp, nil
}

func write(w io.Writer, message any, what string) error {
	var framed bytes.Buffer
	framed.Write(make([]byte, 4)) // the length, once it is known
	e := json.NewEncoder(&framed)
	e.SetEscapeHTML(false) // or a configuration could grow sixfold
	if err := e.Encode(message); err != nil {
		return fmt.Errorf("encode %s: %w", what, err)
	}
	n := framed.Len() - 4
	if n > MaxMessage {
		return fmt.Errorf("%s of %d bytes, the most is %d: %w", what, n, MaxMessage, ErrTooLarge)
	}
	binary.BigEndian.PutUint32(framed.Bytes(), uint32(n))
	if _, err := w.Write(framed.Bytes()); err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	return nil
}

func read(r io.Reader, message any, what string) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return fmt.Errorf("read length of %s: %w", what, err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > MaxMessage {
		return fmt.Errorf("%s of %d bytes, the most is %d: %w", what, n, MaxMessage, ErrTooLarge)
	}
	// A length is a promise, not data: memory grows with what really arrives.
	body, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(body) < int(n) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read %s, %d of %d bytes: %w", what, len(body), n, err)
	}
	if err := json.Unmarshal(body, message); err != nil {
		return fmt.Errorf("%s: %w: %w", what, ErrNotJSON, err)
	}
	return nil
}
