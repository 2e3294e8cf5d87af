package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// IsManifest says whether a file of this name in a manifests directory is read.
// Names that begin with a dot are not: a writer makes a file under such a name
// and renames it when it is whole.
func IsManifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// Digest is a hash over the manifests in dir: equal digests mean equal names and
// equal contents. It is SHA-256, in hex, over the files in the order of their
// names, each as its name, a zero byte, its length in decimal, a zero byte and
// its contents. Directories and other files are left out.
//
// The error wraps fs.ErrNotExist if dir is not there. A file that is deleted while
// the digest is being made counts as not there.
func Digest(dir string) (string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return "", fmt.Errorf("digest of manifests: %w", err)
	}
	hash := sha256.New()
	for _, entry := range entries {
		if entry.IsDir() || !IsManifest(entry.Name()) {
			continue
		}
		contents, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("digest of manifests in %s: %w", dir, err)
		}
		fmt.Fprintf(hash, "%s\x00%d\x00", entry.Name(), len(contents))
		hash.Write(contents)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
