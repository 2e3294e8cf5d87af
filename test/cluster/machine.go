package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a node's first process: it makes the node's own file system of this
// machine's, starts the services, starts them again when they end, and reaps what
// they leave behind. It is process 1 of its namespace, so with it all others end.
type machine struct {
	Name string
	// Dir holds what the node writes; it is on a file system that overlayfs can write to.
	Dir string
	// Run are directories to be found below the node's own /run, by their names there.
	Run      map[string]string
	Services []service
}

// service is a program of the node. It logs to NAME.log in the machine's directory.
type service struct {
	Name string
	Argv []string
	Env  []string
}

// restartPause is how long a service that ended stays down, as systemd would have it.
const restartPause = time.Second

func readMachine(file string) (*machine, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	m := new(machine)
	return m, json.Unmarshal(text, m)
}

// run never returns but with an error.
func (m *machine) run() error {
	if os.Getpid() != 1 {
		return errors.New("this is a node's first process: `up` starts it")
	}
	if err := unix.Sethostname([]byte(m.Name)); err != nil {
		return os.NewSyscallError("sethostname", err)
	}
	if err := m.mount(); err != nil {
		return err
	}
	running := map[int]service{}
	for _, s := range m.Services {
		if err := m.start(s, running); err != nil {
			return err
		}
	}
	return m.reap(running)
}

// overlaid are this machine's directories that a node sees, and writes to, as its own.
var overlaid = []string{"/etc", "/opt", "/var"}

// real are those that must be no overlay: overlayfs cannot write to another one, and
// kubelet looks at what its directory's file system has room for.
var real = []string{"/var/lib/containerd", "/var/lib/kubelet"}

// mount makes the node's file system. Nothing of it is seen outside, and it goes with
// the last process of the node.
func (m *machine) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("make mounts private", err)
	}
	for _, dir := range overlaid {
		upper, work := filepath.Join(m.Dir, "overlay", dir), filepath.Join(m.Dir, "overlay-work", dir)
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
		if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
			return fmt.Errorf("mount an overlay on %s: %w", dir, err)
		}
	}
	for _, dir := range real {
		if err := m.bind(filepath.Join(m.Dir, "real", dir), dir); err != nil {
			return err
		}
	}
	run := filepath.Join(m.Dir, "run")
	for name, source := range m.Run {
		if err := m.bind(source, filepath.Join(run, name)); err != nil {
			return err
		}
	}
	if err := unix.Mount(run, "/run", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount the node's own /run: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount the node's own /proc: %w", err)
	}
	// As on any machine: containers may ask to see what is mounted later.
	return os.NewSyscallError("make mounts shared", unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""))
}

func (m *machine) bind(source, target string) error {
	if err := errors.Join(os.MkdirAll(source, 0o755), os.MkdirAll(target, 0o755)); err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

func (m *machine) start(s service, running map[int]service) error {
	log, err := os.OpenFile(filepath.Join(m.Dir, s.Name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	p, err := os.StartProcess(s.Argv[0], s.Argv, &os.ProcAttr{Dir: "/", Env: append(os.Environ(), s.Env...), Files: []*os.File{null, log, log}})
	if err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	running[p.Pid] = s
	return p.Release() // waited for with all others
}

// reap waits for whatever ends in this namespace.
func (m *machine) reap(running map[int]service) error {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("wait4", err)
		}
		s, ok := running[pid]
		if !ok {
			continue
		}
		delete(running, pid)
		fmt.Printf("%s ended (exit status %d, signal %d) and is started again\n", s.Name, status.ExitStatus(), status.Signal())
		time.Sleep(restartPause)
		if err := m.start(s, running); err != nil {
			return err
		}
	}
}
