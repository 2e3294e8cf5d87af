package appctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-cni/sluice/ovs/internal/jsonrpc"
)

// RunDir is where distributions let Open vSwitch keep its sockets and pid files.
const RunDir = "/var/run/openvswitch"

// bound is how long a command may take when ctx has no deadline of its own: a
// daemon that hangs must not hang its callers.
const bound = 30 * time.Second

// ErrNotRunning is wrapped by errors that mean that no daemon listens: the
// socket or the pid file is missing, or nobody is behind it.
var ErrNotRunning = errors.New("the daemon does not run")

// CommandError is the daemon's refusal of a command: it is unknown, or its
// arguments are bad.
type CommandError struct {
	Method string
	// Text is the daemon's own.
	Text string
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("%s: %s", e.Method, strings.TrimSpace(e.Text))
}

// Call sends one command to the unixctl socket and returns the text that it
// answers. It never lasts longer than ctx, nor than 30 s. Errors: *CommandError
// when the daemon refuses, ErrNotRunning when there is none, the context's when
// it does not answer in time (the command may then still be carried out).
func Call(ctx context.Context, socket, method string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	if args == nil {
		args = []string{} // params must be an array, not null
	}
	raw, err := jsonrpc.Call(ctx, socket, method, args)
	var refused *jsonrpc.RefusedError
	switch {
	case errors.As(err, &refused):
		return "", &CommandError{Method: method, Text: refused.Text}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return "", fmt.Errorf("command %q to %s: %w: %w", method, socket, ErrNotRunning, err)
	case err != nil:
		return "", fmt.Errorf("command %q to %s: %w", method, socket, err)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("command %q to %s: the answer is no text: %s", method, socket, raw)
	}
	return text, nil
}

// Client sends commands to one daemon, finding its socket anew for each, so
// that it outlives the daemon's restarts. It holds nothing open; its methods may
// be called at the same time.
type Client struct {
	// RunDir is the directory of the daemon's files, "" means the package's RunDir.
	RunDir string
	// Daemon is "ovs-vswitchd" (also if empty) or "ovsdb-server".
	Daemon string
}

// Call is the function Call on the daemon's socket.
func (c Client) Call(ctx context.Context, method string, args ...string) (string, error) {
	socket, err := c.Socket()
	if err != nil {
		return "", fmt.Errorf("command %q: %w", method, err)
	}
	return Call(ctx, socket, method, args...)
}

// Socket returns the path of the daemon's unixctl socket: DAEMON.ctl in the
// directory if the daemon was told to use that name, else DAEMON.PID.ctl with
// the pid of its pid file, which is Open vSwitch's default. If there is neither,
// the error wraps ErrNotRunning.
func (c Client) Socket() (string, error) {
	dir, daemon := c.RunDir, c.Daemon
	if dir == "" {
		dir = RunDir
	}
	if daemon == "" {
		daemon = "ovs-vswitchd"
	}
	fixed := filepath.Join(dir, daemon+".ctl")
	if _, err := os.Stat(fixed); err == nil {
		return fixed, nil
	}
	pidFile := filepath.Join(dir, daemon+".pid")
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find the socket of %s in %s: %w: neither %s nor %s is there", daemon, dir, ErrNotRunning, fixed, pidFile)
	}
	if err != nil {
		return "", fmt.Errorf("find the socket of %s: %w", daemon, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return "", fmt.Errorf("find the socket of %s: %s holds %q, not a process id", daemon, pidFile, text)
	}
	return filepath.Join(dir, fmt.Sprintf("%s.%d.ctl", daemon, pid)), nil
}
