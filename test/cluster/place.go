package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// runDir holds a directory for each cluster.
const runDir = "/run/sluice-cluster"

// place says where the things of one cluster are.
type place struct{ name string }

// validName keeps a lab's name, which is made of it, within that one's bounds.
var validName = regexp.MustCompile(`^[a-z0-9]{1,8}$`)

func newPlace(name string) (place, error) {
	if !validName.MatchString(name) {
		return place{}, fmt.Errorf("--name %q: expected 1 to 8 lower-case letters and digits", name)
	}
	return place{name}, nil
}

func (p place) dir() string                    { return filepath.Join(runDir, p.name) }
func (p place) lab() string                    { return "cluster-" + p.name }
func (p place) pkiDir() string                 { return filepath.Join(p.dir(), "pki") }
func (p place) etcdDir() string                { return filepath.Join(p.dir(), "etcd") }
func (p place) imagesDir() string              { return filepath.Join(p.dir(), "images") }
func (p place) file(name string) string        { return filepath.Join(p.dir(), name) }
func (p place) log(name string) string         { return filepath.Join(p.dir(), name+".log") }
func (p place) kubeconfig() string             { return filepath.Join(p.dir(), "kubeconfig") }
func (p place) kubeconfigOf(who string) string { return filepath.Join(p.pkiDir(), who+".kubeconfig") }

// nodeDir holds what a node has of its own; below it are the node's paths.
func (p place) nodeDir(node string) string { return filepath.Join(p.dir(), "nodes", node) }

// cgroup is the control group of all containers of a node, in each hierarchy.
func (p place) cgroup(node string) string { return "/sluice-cluster-" + p.name + "-" + node }

// removeDir removes the directory, and that of all clusters if it was the last.
func (p place) removeDir() error {
	if err := os.RemoveAll(p.dir()); err != nil {
		return err
	}
	if err := os.Remove(runDir); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}
