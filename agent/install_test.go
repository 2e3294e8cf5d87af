package agent

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPluginsOfOthersAreNotOverwritten(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "sluice"), "new")
	write(t, filepath.Join(from, "loopback"), "new")
	write(t, filepath.Join(from, "portmap"), "new")
	write(t, filepath.Join(to, "sluice"), "old")
	write(t, filepath.Join(to, "loopback"), "the distribution's")
	if err := (Install{BinDir: to, FromBinDir: from}).executables(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"sluice": "new", "loopback": "the distribution's", "portmap": "new"} {
		if got := read(t, filepath.Join(to, name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if entries, _ := os.ReadDir(to); len(entries) != 3 {
		t.Errorf("%d files in the directory, want 3: nothing half-written stays", len(entries))
	}
	if info, err := os.Stat(filepath.Join(to, "portmap")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a plugin's mode is %v (%v), want 0755", info.Mode(), err)
	}
}

func TestInstallFileLeavesWhatIsAlreadyRight(t *testing.T) {
	dir := t.TempDir()
	source, target := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, source, "conf")
	for i, want := range []bool{true, false} {
		changed, err := installFile(source, target, 0o644)
		if err != nil || changed != want {
			t.Errorf("time %d: changed %v, %v; want %v", i+1, changed, err, want)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
