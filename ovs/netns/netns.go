package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Dir is where named namespaces are bind-mounted, the directory that iproute2 uses.
const Dir = "/run/netns"

// Path returns where the namespace of that name is mounted, whether or not it exists.
func Path(name string) string { return filepath.Join(Dir, name) }

// Create makes a network namespace of that name, with its loopback device up,
// and returns its path. It lives until Delete, also when this process ends. A
// name that is taken gives an error for which errors.Is(err, fs.ErrExist) holds.
func Create(name string) (string, error) {
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return "", fmt.Errorf("create network namespace %q: the name must be one path element", name)
	}
	path := Path(name)
	if err := shareDir(); err != nil {
		return "", fmt.Errorf("create network namespace %q: %w", name, err)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return "", fmt.Errorf("create network namespace %q: %w", name, err)
	}
	file.Close()
	if err := mountNew(path); err != nil {
		os.Remove(path)
		return "", fmt.Errorf("create network namespace %q: %w", name, err)
	}
	return path, nil
}

// shareDir makes Dir a mount point that shares what is mounted below it, as
// iproute2 does. Left to iproute2, the first `ip netns add` would mount Dir over
// itself with all that is in it: each namespace made before has two mounts then,
// one hidden, and its file cannot be removed (EBUSY).
func shareDir() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	// Locked as iproute2 does, or two at once would mount it twice.
	dir, err := os.Open(Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return os.NewSyscallError("flock", err)
	}
	err = unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) { // EINVAL: no mount point yet
		return os.NewSyscallError("mount", err)
	}
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return os.NewSyscallError("mount", unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, ""))
}

// mountNew makes a namespace and mounts it on path.
func mountNew(path string) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread is in the new namespace, and the runtime
		// ends a locked thread together with its goroutine.
		runtime.LockOSThread()
		result <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return fmt.Errorf("find lo: %w", err)
			}
			if err := netlink.LinkSetUp(lo); err != nil {
				return fmt.Errorf("set lo up: %w", err)
			}
			if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("bind-mount on %s: %w", path, err)
			}
			return nil
		}()
	}()
	return <-result
}

// Delete unmounts the namespace of that name and removes its file. The kernel
// frees it and its devices when the last process in it has ended. A name that
// does not exist is no error.
func Delete(name string) error {
	path := Path(name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete network namespace %q: unmount: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete network namespace %q: %w", name, err)
	}
	return nil
}

// Names returns the names under Dir that start with prefix, sorted.
func Names(prefix string) ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Exists tells whether path is a network namespace now. A path that is missing,
// or a plain file that its namespace was unmounted from, gives false and no
// error; an error means that the answer is not known.
func Exists(path string) (bool, error) {
	err := ns.IsNSorErr(path)
	if err == nil {
		return true, nil
	}
	if errors.As(err, new(ns.NSPathNotExistErr)) || errors.As(err, new(ns.NSPathNotNSErr)) {
		return false, nil
	}
	return false, fmt.Errorf("look at network namespace %q: %w", path, err)
}

// Do runs fn on a thread in the network namespace at path and returns its
// error. fn runs on a goroutine of its own, locked to that thread; goroutines
// and threads that fn starts are NOT in the namespace, but processes that it
// starts itself, sockets that it opens itself, are, and stay there. An empty
// path means the namespace that the caller's thread is in.
func Do(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	var inner error
	err := ns.WithNetNSPath(path, func(ns.NetNS) error {
		inner = fn()
		return nil
	})
	if err != nil {
		return fmt.Errorf("enter network namespace %q: %w", path, err)
	}
	return inner
}
