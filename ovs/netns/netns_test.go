package netns_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/rtnl"
)

func randomName() string { return fmt.Sprintf("sluice-netns-%08x", rand.Uint32()) }

// create makes a namespace that is gone when the test ends.
func create(t *testing.T) (name, path string) {
	t.Helper()
	name = randomName()
	path, err := netns.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Delete(name); err != nil {
			t.Error(err)
		}
	})
	return name, path
}

func TestCreatedNamespaceHasOnlyALoopbackDeviceThatIsUp(t *testing.T) {
	_, path := create(t)
	err := netns.Do(path, func() error {
		links, err := rtnl.Links(rtnl.Here)
		if err != nil {
			return err
		}
		if len(links) != 1 || links[0].Attrs().Name != "lo" || links[0].Attrs().Flags&1 == 0 {
			t.Errorf("links %v, want lo alone, up", links)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTakenNameIsErrExist(t *testing.T) {
	name, path := create(t)
	if _, err := netns.Create(name); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if there, err := netns.Exists(path); err != nil || !there {
		t.Errorf("the first namespace has gone: %v, %v", there, err)
	}
}

func TestNameWithASlashIsRefused(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", ".hidden"} {
		if _, err := netns.Create(name); err == nil {
			netns.Delete(name)
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestDeleteRemovesTheNameAndMayBeRepeated(t *testing.T) {
	name, path := create(t)
	for range 2 {
		if err := netns.Delete(name); err != nil {
			t.Fatal(err)
		}
		if there, err := netns.Exists(path); err != nil || there {
			t.Fatalf("it is still there: %v, %v", there, err)
		}
		if names, err := netns.Names(name); err != nil || len(names) != 0 {
			t.Fatalf("still listed: %v, %v", names, err)
		}
	}
}

func TestPlainFileIsNoNamespace(t *testing.T) {
	path := t.TempDir() + "/file"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if there, err := netns.Exists(path); err != nil || there {
		t.Errorf("got %v, %v", there, err)
	}
}

func TestDoReturnsTheFunctionsErrorAsItIs(t *testing.T) {
	_, path := create(t)
	want := errors.New("mine")
	if err := netns.Do(path, func() error { return want }); err != want {
		t.Errorf("got %v", err)
	}
}

func TestDoInAMissingNamespaceNamesIt(t *testing.T) {
	err := netns.Do("/run/netns/no-such", func() error { t.Error("the function was called"); return nil })
	if err == nil || !strings.Contains(err.Error(), "/run/netns/no-such") {
		t.Errorf("got %v", err)
	}
}

func TestDoInParallelNeverLeaksIntoOthers(t *testing.T) {
	inode := func() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }
	home, err := inode()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		_, path := create(t)
		var want string
		if err := netns.Do(path, func() (err error) { want, err = inode(); return }); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			wg.Go(func() {
				for range 20 {
					var got string
					err := netns.Do(path, func() (err error) { got, err = inode(); return })
					if err != nil || got != want {
						t.Errorf("in the namespace: %v, %v, want %v", got, err, want)
					}
					if got, err := inode(); err != nil || got != home {
						t.Errorf("outside: %v, %v, want %v", got, err, home)
					}
				}
			})
		}
	}
	wg.Wait()
}

func TestProcessStartedInDoIsInTheNamespace(t *testing.T) {
	_, path := create(t)
	var want, got string
	err := netns.Do(path, func() (err error) {
		if want, err = os.Readlink("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		out, err := exec.Command("readlink", "/proc/self/ns/net").Output()
		got = strings.TrimSpace(string(out))
		return err
	})
	if err != nil || got != want {
		t.Errorf("child is in %q, want %q, %v", got, want, err)
	}
}
