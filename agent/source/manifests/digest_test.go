package manifests

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, dir, name, contents string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(contents), 0o644); err != nil {
		t.Fatal(err)
	}
}

func digest(t *testing.T, dir string) string {
	t.Helper()
	got, err := Digest(dir)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestDigestIsOverSortedNamesLengthsAndContents(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "b.yaml", "two")
	write(t, dir, "a.json", "one!")
	want := fmt.Sprintf("%x", sha256.Sum256([]byte("a.json\x004\x00one!b.yaml\x003\x00two")))
	if got := digest(t, dir); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

func TestDigestLeavesOutWhatIsNoManifest(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", "one")
	before := digest(t, dir)
	write(t, dir, ".b.yaml", "being written")
	write(t, dir, "README", "text")
	if err := os.Mkdir(filepath.Join(dir, "dir.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if after := digest(t, dir); after != before {
		t.Errorf("digest changed from %s to %s", before, after)
	}
}

func TestDigestTellsWhereOneFileEnds(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	write(t, one, "a.yaml", "xb.yaml\x001\x00y")
	write(t, two, "a.yaml", "x")
	write(t, two, "b.yaml", "y")
	if digest(t, one) == digest(t, two) {
		t.Error("one file and two files have the same digest")
	}
}

func TestDigestOfNoDirectory(t *testing.T) {
	_, err := Digest(filepath.Join(t.TempDir(), "absent"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want one that wraps fs.ErrNotExist", err)
	}
}

func TestDigestWhileFilesComeAndGo(t *testing.T) {
	dir := t.TempDir()
	for i := range 50 {
		write(t, dir, fmt.Sprintf("%02d.yaml", i), "stays")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300 {
			path := filepath.Join(dir, "60.yaml")
			_ = os.WriteFile(path, []byte("comes and goes"), 0o644)
			_ = os.Remove(path)
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
			digest(t, dir)
		}
	}
}
