package plug

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// openNetNS opens a container's network namespace. The error is a [*NetNSError], or
// ours to answer for (no more descriptors, no permission).
func openNetNS(path string) (*os.File, error) {
	// O_NONBLOCK: a path that is a FIFO must not hold us up.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, &NetNSError{Path: path, Gone: true, Reason: "nothing is there"}
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	if reason, gone := notNetNS(f); reason != "" {
		f.Close()
		return nil, &NetNSError{Path: path, Gone: gone, Reason: reason}
	}
	return f, nil
}

// netlinkIn opens a netlink socket in a container's namespace, whose path is for the error.
func netlinkIn(ns *os.File, path string) (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in %q: %w", path, err)
	}
	return h, nil
}

// notNetNS says why a file is no network namespace for a container, "" if it is one.
func notNetNS(f *os.File) (reason string, gone bool) {
	var sfs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &sfs); err != nil {
		return fmt.Sprintf("fstatfs: %v", err), false
	}
	if sfs.Type != unix.NSFS_MAGIC {
		return "the file is no namespace (an unmounted one is an ordinary file)", true
	}
	// nsfs holds all kinds of namespaces.
	if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		return "it is a namespace of another kind", false
	}
	var theirs, ours unix.Stat_t
	if unix.Fstat(int(f.Fd()), &theirs) == nil && unix.Stat("/proc/thread-self/ns/net", &ours) == nil &&
		theirs.Dev == ours.Dev && theirs.Ino == ours.Ino {
		return "it is the host's own, not a container's", false
	}
	return "", false
}

// inNetNS runs f on a thread in the namespace, and returns when it has. The thread
// belongs to a goroutine that locks it, and that goes back where it came from before
// it lets go of it; should it be unable to go back, the thread ends with the
// goroutine, so that no other ever runs in a container's namespace.
func inNetNS(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer home.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
