package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stopBound is how long a daemon has to end by itself, and again how long the
// kernel has to end it, before Stop and Kill give up.
const stopBound = 5 * time.Second

// PID returns the daemon's process id, and false if it does not run.
func (o *OVS) PID(d Daemon) (int, bool) {
	text, err := os.ReadFile(o.pidFile(d))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 || !o.isDaemon(pid, d) {
		return 0, false
	}
	return pid, true
}

// Alive tells whether the daemon runs. A zombie does not.
func (o *OVS) Alive(d Daemon) bool {
	_, ok := o.PID(d)
	return ok
}

// isDaemon tells whether the process is that daemon of this directory: pids are
// used again, and a pid file outlives a killed daemon.
func (o *OVS) isDaemon(pid int, d Daemon) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil { // the process is gone
		return false
	}
	// A zombie's command line is empty.
	args := strings.Split(string(cmdline), "\x00")
	return slices.Contains(args, "--pidfile="+o.pidFile(d)) && state(pid) != 'Z' && state(pid) != 'X'
}

// state returns the process's state as proc(5) has it in /proc/PID/stat, 'X' if
// there is no such process.
func state(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 'X'
	}
	// The name before it is in parentheses and may hold anything.
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 || i+2 >= len(stat) {
		return 'X'
	}
	return stat[i+2]
}

// Stop ends the daemon with SIGTERM, and with SIGKILL if it is still there after
// 5 s or when ctx ends. It returns when the process is gone. A daemon that does
// not run is no error. The kernel's datapath, if it is used, stays as it is.
func (o *OVS) Stop(ctx context.Context, d Daemon) error {
	return o.end(ctx, d, unix.SIGTERM)
}

// Kill ends the daemon with SIGKILL, as a crash would, and returns when the
// process is gone. A daemon that does not run is no error.
func (o *OVS) Kill(d Daemon) error {
	return o.end(context.Background(), d, unix.SIGKILL)
}

// StopAll stops both daemons, ovs-vswitchd first.
func (o *OVS) StopAll(ctx context.Context) error {
	return errors.Join(o.Stop(ctx, Vswitchd), o.Stop(ctx, DB))
}

func (o *OVS) end(ctx context.Context, d Daemon, signal unix.Signal) error {
	pid, ok := o.PID(d)
	if !ok {
		return nil
	}
	p, err := openProcess(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", d, err)
	}
	defer p.Close()
	// Asked again now that the descriptor holds the pid: it can be no other's.
	if !o.isDaemon(pid, d) {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, stopBound)
	defer cancel()
	if signal != unix.SIGKILL && p.signal(signal) == nil && p.wait(bounded) == nil {
		return nil
	}
	if err := p.signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %s, process %d: %w", d, pid, err)
	}
	bounded, cancel = context.WithTimeout(context.WithoutCancel(ctx), stopBound)
	defer cancel()
	if err := p.wait(bounded); err != nil {
		return fmt.Errorf("kill %s: process %d is still there: %w", d, pid, err)
	}
	return nil
}

// process is a pidfd(2): a handle on one process that no other can take over.
type process struct{ *os.File }

func openProcess(pid int) (process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return process{}, os.NewSyscallError("pidfd_open", err)
	}
	return process{os.NewFile(uintptr(fd), "pidfd")}, nil
}

func (p process) signal(s unix.Signal) error {
	conn, err := p.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = unix.PidfdSendSignal(int(fd), s, nil, 0) }); err != nil {
		return err
	}
	return os.NewSyscallError("pidfd_send_signal", failed)
}

// wait returns when the process has ended, reaped or not, or with ctx's error.
func (p process) wait(ctx context.Context) error {
	conn, err := p.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { p.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = conn.Read(func(fd uintptr) bool {
		// A pidfd is readable once the process has ended.
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return err == nil && n > 0
	})
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
