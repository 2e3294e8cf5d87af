package server

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheSocketIsForRootAlone(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	path := filepath.Join(t.TempDir(), "run", "cni.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != fs.ModeSocket|0o600 {
		t.Errorf("mode is %v", got)
	}
	if got := l.Addr().String(); got != path {
		t.Errorf("the address is %q", got)
	}
	l.Close()
	left, _ := os.ReadDir(filepath.Dir(path))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cni.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestALiveAgentsSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cni.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(path); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v", err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first agent's socket has gone: %v", err)
	}
	c.Close()
}

func TestOfAgentsThatStartAtOnceOneListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cni.sock")
	var listening sync.Map
	var starting sync.WaitGroup
	for i := range 8 {
		starting.Go(func() {
			if l, err := Listen(path); err == nil {
				listening.Store(i, l)
			} else if !errors.Is(err, ErrInUse) {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	n := 0
	listening.Range(func(_, l any) bool { n++; l.(net.Listener).Close(); return true })
	if n != 1 {
		t.Errorf("%d listen", n)
	}
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cni.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("error is %v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "precious" {
		t.Errorf("the file holds %q", text)
	}
}

func TestClosingLeavesASuccessorsSocketAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cni.sock")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	second, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestAPathThatClientsCannotConnectToIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("a", 107))
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "at most 107") {
		t.Errorf("error is %v", err)
	}
}
