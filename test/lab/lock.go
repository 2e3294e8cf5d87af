package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockPoll is how often a lock that somebody else holds is tried again.
	lockPoll = 50 * time.Millisecond
	// lockPatience is after how many times the user is told.
	lockPatience = 10
)

// lock makes the caller the only one that changes this lab, on the whole
// machine, until the function it returns is called or the process ends. The
// lock's file goes with the lab's directory. If it takes long, out tells why.
func (p places) lock(ctx context.Context, out *output) (unlock func(), err error) {
	for polls := 0; ; polls++ {
		if polls == lockPatience {
			out.printf("another command is changing lab %q: waiting until it is done", p.lab)
		}
		file, err := p.tryLock()
		if err != nil {
			return nil, fmt.Errorf("lock lab %q: %w", p.lab, err)
		}
		if file != nil {
			return func() {
				if _, err := os.Stat(p.dir()); errors.Is(err, fs.ErrNotExist) {
					os.Remove(p.lockFile())
					os.Remove(runDir) // if this was the only lab; else it is not empty
				}
				file.Close()
			}, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until another command on lab %q is done: %w", p.lab, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// tryLock returns nil if the lock is not to be had now.
func (p places) tryLock() (*os.File, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(p.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) { // runDir was removed in between
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return nil, nil
		}
		return nil, err
	}
	// Whoever held it before may have removed the file: then it locks nothing.
	mine, err := file.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Stat(p.lockFile()); err == nil && os.SameFile(mine, there) {
			return file, nil
		}
	}
	file.Close()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return nil, nil
}
