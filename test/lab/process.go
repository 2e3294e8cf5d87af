package lab

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
	"github.com/sluice-cni/sluice/test/slow"
)

// marker is the variable in the environment of every process that a lab starts
// itself. Its value says which lab's and which of its processes it is, so that
// no process needs to be known by a pid alone or by the name of its program.
const marker = "SLUICE_LAB_PROCESS"

// killBound is how long a process may take to end when it is told to, and again
// when it is killed.
var killBound = slow.Bound(10 * time.Second)

// process is a process of the lab that outlives the command that starts it.
type process struct {
	// file is unique to this process, below the lab's directory. Its pid is in
	// file.pid.
	file string
	// log takes what the process writes.
	log string
	// netns is the network namespace that it runs in.
	netns string
	argv  []string
	// ready, if set, is a descriptor on which the process writes a line once it
	// serves: an empty one, or what went wrong. It is the process's descriptor 3.
	ready bool
}

func (p process) pidFile() string { return p.file + ".pid" }

func (p process) start(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.argv[0], err)
	}
	defer log.Close()
	// Not CommandContext: the process outlives this command.
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Env = append(os.Environ(), marker+"="+p.file)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var told, tell *os.File
	if p.ready {
		if told, tell, err = os.Pipe(); err != nil {
			return fmt.Errorf("start %s: %w", p.argv[0], err)
		}
		defer told.Close()
		cmd.ExtraFiles = []*os.File{tell}
	}
	err = netns.Do(p.netns, cmd.Start)
	if tell != nil {
		tell.Close()
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", p.argv[0], err)
	}
	// Ends with the process, which is no zombie then while this one goes on.
	go func() { _ = cmd.Wait() }()
	err = writeWhole(p.pidFile(), fmt.Appendln(nil, cmd.Process.Pid))
	if err == nil && told != nil {
		err = awaitReady(ctx, told)
	}
	if err != nil {
		_ = cmd.Process.Kill() // it may have ended by itself
		return fmt.Errorf("start %s: %w", p.argv[0], err)
	}
	return nil
}

// awaitReady returns when the process has said that it serves.
func awaitReady(ctx context.Context, told *os.File) error {
	stop := context.AfterFunc(ctx, func() { told.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buffer := make([]byte, 4096)
	n, err := told.Read(buffer)
	switch said := strings.TrimSpace(string(buffer[:n])); {
	case ctx.Err() != nil:
		return fmt.Errorf("wait until it serves: %w", ctx.Err())
	case n == 0:
		return fmt.Errorf("it ended before it served: %w", err)
	case said != "":
		return errors.New(said)
	}
	return nil
}

// pid is the process's, or 0 if it does not run.
func (p process) pid() int {
	text, err := os.ReadFile(p.pidFile())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || markerOf(pid) != p.file {
		return 0
	}
	return pid
}

// end sends the signal and returns when the process is gone; after killBound, or
// when ctx ends, it is killed. A process that does not run is no error.
func (p process) end(ctx context.Context, signal unix.Signal) error {
	defer os.Remove(p.pidFile())
	pid := p.pid()
	if pid == 0 {
		return nil
	}
	return endProcess(ctx, pid, func() bool { return markerOf(pid) == p.file }, signal)
}

// endProcess ends the process with that pid if it still is the one that is meant.
func endProcess(ctx context.Context, pid int, isMeant func() bool, signal unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	// The descriptor holds on to the process: asked now, the answer stays true.
	if !isMeant() {
		return nil
	}
	for _, signal := range []unix.Signal{signal, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, signal, nil, 0); errors.Is(err, unix.ESRCH) {
			return nil
		} else if err != nil {
			return fmt.Errorf("end process %d: %w", pid, err)
		}
		if awaitEnd(ctx, fd, killBound) {
			return nil
		}
		ctx = context.WithoutCancel(ctx)
	}
	return fmt.Errorf("process %d is still there %s after it was killed", pid, killBound)
}

// awaitEnd tells whether the process ended in that time. A zombie has ended.
func awaitEnd(ctx context.Context, pidfd int, bound time.Duration) bool {
	for until := time.Now().Add(bound); ; {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 20); err == nil && n > 0 {
			return true
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return false
		}
	}
}

// markerOf is the marker of a process, empty if it has none or has ended.
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

// belongs tells whether a process is one of the lab's daemons: by the marker, or,
// for Open vSwitch's, by the pid file that it was started with.
func (p places) belongs(pid int) bool {
	if strings.HasPrefix(markerOf(pid), p.dir()+"/") {
		return true
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	// ovsdb-tool makes a node's database within milliseconds, and has neither.
	name, arguments, _ := bytes.Cut(cmdline, []byte{0})
	return bytes.Contains(cmdline, []byte("\x00--pidfile="+p.dir()+"/")) ||
		filepath.Base(string(name)) == "ovsdb-tool" && bytes.Contains(arguments, []byte("\x00"+p.dir()+"/"))
}

// endAll ends all processes of the lab, whether a pid file names them or not: a
// command that crashed may have started one and not have written it down.
func (p places) endAll(ctx context.Context) error {
	entries, err := filepath.Glob("/proc/[1-9]*")
	if err != nil {
		return err
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(filepath.Base(entry)); err == nil && p.belongs(pid) {
			pids = append(pids, pid)
		}
	}
	return forAll(pids, func(pid int) error {
		return endProcess(ctx, pid, func() bool { return p.belongs(pid) }, unix.SIGKILL)
	})
}
