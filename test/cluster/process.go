package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
)

// marker is the variable in the environment of every process of a cluster that is
// started on this machine. Its value is a path below the cluster's directory, so
// that `down` finds them all, also after a crash.
const marker = "SLUICE_CLUSTER_PROCESS"

// killBound is how long the kernel has to end a process, a node's last with all others in it.
const killBound = 30 * time.Second

// process outlives the command that starts it.
type process struct {
	name string
	argv []string
	// netns is the network namespace it runs in; empty is this machine's.
	netns string
	// cloneflags are namespaces that are made for it.
	cloneflags uintptr
}

// start writes the process's pid to NAME.pid; it logs to NAME.log.
func (p place) start(proc process) error {
	log, err := os.OpenFile(p.log(proc.name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", proc.name, err)
	}
	defer log.Close()
	cmd := exec.Command(proc.argv[0], proc.argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), marker+"="+p.file(proc.name))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: proc.cloneflags}
	if err := netns.Do(proc.netns, cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", proc.name, err)
	}
	go func() { _ = cmd.Wait() }() // no zombie while this program goes on
	return os.WriteFile(p.file(proc.name+".pid"), fmt.Appendln(nil, cmd.Process.Pid), 0o644)
}

// pid is a process's that runs, or 0.
func (p place) pid(name string) int {
	text, err := os.ReadFile(p.file(name + ".pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || markerOf(pid) != p.file(name) {
		return 0
	}
	return pid
}

// logTail is for errors: why a process does not do what is waited for.
func (p place) logTail(name string) string {
	text, err := os.ReadFile(p.log(name))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return fmt.Sprintf("%s ends:\n%s", p.log(name), strings.Join(lines[max(0, len(lines)-10):], "\n"))
}

// endAll kills all processes of the cluster. A node's first process takes with it
// all that runs on the node.
func (p place) endAll(ctx context.Context) error {
	entries, err := filepath.Glob("/proc/[1-9]*")
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		pid, err := strconv.Atoi(filepath.Base(entry))
		if err == nil && p.owns(pid) {
			errs = append(errs, p.kill(ctx, pid))
		}
	}
	return errors.Join(errs...)
}

func (p place) owns(pid int) bool { return strings.HasPrefix(markerOf(pid), p.dir()+"/") }

func (p place) kill(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if !p.owns(pid) { // asked again, now that the descriptor holds the pid
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for until := time.Now().Add(killBound); ; {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 50); err == nil && n > 0 {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return fmt.Errorf("process %d is still there after it was killed", pid)
		}
	}
}

func markerOf(pid int) string {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(marker+"=")); ok {
			return string(value)
		}
	}
	return ""
}
