package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse is returned, wrapped, by [Listen] when another process listens there.
var ErrInUse = errors.New("another agent is listening")

// maxPath is the longest socket path that clients can connect to: sun_path less
// the terminating zero (unix(7)).
const maxPath = 107

// Listen makes the agent's socket, mode 0600, and the directory it is in. A socket
// that nobody listens on any more is replaced; where somebody does, the error is
// [ErrInUse]; anything that is not a socket is left alone and refused.
//
// The socket is at no moment open to others, whatever the umask (which belongs to
// the whole process and cannot be changed safely in a program with threads): it is
// made in a directory that only we can enter, and moved into place when its mode
// is right. The move also replaces the stale socket without a gap.
//
// Closing the listener removes the socket, unless another has taken its place.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("listen at %q: the path has %d bytes, a unix socket's has at most %d", path, len(path), maxPath)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("listen at %q: %w", path, err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("listen at %q: lock %q against other agents: %w", path, dir, err)
	}
	defer unlock()
	if err := mayReplace(path); err != nil {
		return nil, fmt.Errorf("listen at %q: %w", path, err)
	}
	l, err := place(dir, path)
	if err != nil {
		return nil, fmt.Errorf("listen at %q: %w", path, err)
	}
	return l, nil
}

// lock keeps two agents that start at once from both finding the socket stale. It
// needs no file of its own: a directory can be locked.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return func() { d.Close() }, nil
}

// mayReplace returns nil if nothing is at path, or a socket without a listener.
func mayReplace(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("something that is no socket is there (%s): remove it, or choose another path", info.Mode().Type())
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("%w: stop it first", ErrInUse)
	case errors.Is(err, syscall.EAGAIN):
		// A full backlog: somebody listens and is slow.
		return fmt.Errorf("%w (and does not accept): stop it first", ErrInUse)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("find out whether another agent listens: %w", err)
}

func place(dir, path string) (net.Listener, error) {
	private, err := os.MkdirTemp(dir, ".cni-") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	d, err := os.Open(private)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	// Through the descriptor, as the directory's path may be too long to bind.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/s", d.Fd())})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	made := filepath.Join(private, "s")
	if err := os.Chmod(made, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	id, err := os.Lstat(made)
	if err != nil {
		l.Close()
		return nil, err
	}
	if err := os.Rename(made, path); err != nil {
		l.Close()
		return nil, err
	}
	return &listener{UnixListener: l, path: path, id: id}, nil
}

// listener is a listener whose socket was renamed after it was bound.
type listener struct {
	*net.UnixListener
	path string
	id   os.FileInfo
}

// Addr is the path where clients find the socket.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: l.path} }

// Close stops listening and removes the socket if it is still this one.
func (l *listener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.id) {
		os.Remove(l.path)
	}
	return l.UnixListener.Close()
}
