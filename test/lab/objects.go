package lab

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-cni/sluice/agent/source/manifests"
)

// A lab's objects are files: one copy in its objects directory, which is the
// lab's own memory, and one in each node's manifests directory, which is the
// node's agent's input.

// loadCluster reads the lab's objects, or only those of the kinds that are named.
func (p places) loadCluster(kinds ...schema.GroupKind) (*cluster, error) {
	wanted := func(file string) bool {
		return len(kinds) == 0 || slices.ContainsFunc(kinds, func(kind schema.GroupKind) bool {
			return strings.HasPrefix(file, filePrefix(kind))
		})
	}
	c := newCluster(time.Now, newUID)
	entries, err := os.ReadDir(p.objectsDir())
	if err != nil {
		return nil, fmt.Errorf("objects of lab %q: %w", p.lab, err)
	}
	for _, entry := range entries {
		if !manifests.IsManifest(entry.Name()) || !wanted(entry.Name()) {
			continue
		}
		path := filepath.Join(p.objectsDir(), entry.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("objects of lab %q: %w", p.lab, err)
		}
		objects, err := ParseObjects(path, data)
		if err != nil {
			return nil, fmt.Errorf("objects of lab %q: %w", p.lab, err)
		}
		for _, object := range objects {
			c.objects[object.Key()] = object
		}
	}
	return c, nil
}

// write puts an object into the lab's memory and every node's manifests.
func (s *session) write(object Object) error {
	data, err := object.yaml()
	if err != nil {
		return err
	}
	for _, dir := range s.objectDirs() {
		if err := writeWhole(filepath.Join(dir, object.Key().fileName()), data); err != nil {
			return fmt.Errorf("write %s: %w", object.Key(), err)
		}
	}
	return nil
}

// erase removes an object everywhere.
func (s *session) erase(key Key) error {
	delete(s.cluster.objects, key)
	for _, dir := range s.objectDirs() {
		if err := os.Remove(filepath.Join(dir, key.fileName())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete %s: %w", key, err)
		}
	}
	return nil
}

// fillManifests gives a new node all objects that there are.
func (s *session) fillManifests(h host) error {
	for key, object := range s.cluster.objects {
		data, err := object.yaml()
		if err == nil {
			err = writeWhole(filepath.Join(h.manifestsDir(), key.fileName()), data)
		}
		if err != nil {
			return fmt.Errorf("node %s: write %s: %w", h.name, key, err)
		}
	}
	return nil
}

// objectDirs are the lab's memory and the manifests directories of its nodes.
func (s *session) objectDirs() []string {
	dirs := []string{s.objectsDir()}
	for _, node := range s.state.Nodes {
		dirs = append(dirs, s.node(node.Name).manifestsDir())
	}
	return dirs
}

// newUID is a random UUID (RFC 9562, version 4), as an API server gives out.
func newUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newContainerID is an id as runtimes make them: 64 hexadecimal digits.
func newContainerID() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
