package plug

import (
	"errors"
	"fmt"
)

// ErrIfNameTaken is returned, wrapped, by [Create] when the container already has an
// interface of that name.
var ErrIfNameTaken = errors.New("the container already has an interface of that name")

// ErrHostNameTaken is returned, wrapped, by [Create] when the host already has a link
// of the host end's name: what an ADD that was cut short left behind ([Remove] it
// and try again), or a second ADD of the same attachment.
var ErrHostNameTaken = errors.New("the host already has a link of that name")

// ErrNoInterface is returned, wrapped, by [Inspect] when the namespace is there and
// has no interface of that name.
var ErrNoInterface = errors.New("no such interface")

// NetNSError is returned, wrapped, when a path is no network namespace that a cable
// can be plugged into. It is the caller's fault (CNI error 4), or the container has
// gone.
type NetNSError struct {
	// Path is the path, as given.
	Path string
	// Gone is set if nothing is at Path, or what is there is no longer a namespace
	// (an unmounted /run/netns file).
	Gone bool
	// Reason says what is wrong, in words.
	Reason string
}

func (e *NetNSError) Error() string {
	return fmt.Sprintf("network namespace %q: %s", e.Path, e.Reason)
}

// step is the error of one step on one device; nil if there is none.
func step(device, doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s: %w", device, doing, err)
}
