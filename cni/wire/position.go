package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// CheckJSON returns nil if text is one valid JSON value, and otherwise an [Error]
// of code 6 that says where it stops being one. Both ends use it: the executable
// cannot send what is not JSON.
func CheckJSON(text []byte) *Error {
	var syntax *json.SyntaxError
	var value json.RawMessage
	err := json.Unmarshal(text, &value)
	if err == nil {
		return nil
	}
	if !errors.As(err, &syntax) {
		return &Error{Code: CodeDecodingFailure, Msg: "network configuration: " + err.Error()}
	}
	// Offset counts the bytes read, the offending one included.
	line, column := position(text, int(syntax.Offset)-1)
	return &Error{
		Code: CodeDecodingFailure,
		Msg:  fmt.Sprintf("network configuration: not valid JSON at line %d, column %d: %v", line, column, err),
	}
}

// position is the line and column, both from 1, of a byte; the column counts
// characters.
func position(text []byte, offset int) (line, column int) {
	line, start := 1, 0
	offset = min(max(offset, 0), len(text))
	for i, c := range text[:offset] {
		if c == '\n' {
			line, start = line+1, i+1
		}
	}
	return line, utf8.RuneCount(text[start:offset]) + 1
}
