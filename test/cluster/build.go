package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The versions that a cluster is made of. Kubernetes' and CoreDNS' are those of the go.mod
// in the directories kubernetes and coredns.
const (
	kubernetesVersion = "v1.36.1"
	containerdVersion = "v2.4.2"
	pluginsVersion    = "v1.9.1"
	coreDNSVersion    = "v1.14.0"
)

// program is an executable that is built into the cache once.
type program struct {
	// dir is the cache's directory, named for what is in it and its version.
	dir string
	// pkg is the package to build.
	pkg string
	// module is the directory whose go.mod says from what; without it pkg has a version.
	module  string
	ldflags string
}

func (p program) name() string {
	pkg, _, _ := strings.Cut(p.pkg, "@")
	return filepath.Base(pkg)
}

// cache holds built programs, outside the checkout.
type cache struct{ top string }

func openCache() (cache, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return cache{}, err
	}
	return cache{filepath.Join(dir, "sluice-cluster")}, nil
}

func (c cache) kubernetesDir() string { return filepath.Join(c.top, "kubernetes-"+kubernetesVersion) }
func (c cache) containerdDir() string { return filepath.Join(c.top, "containerd-"+containerdVersion) }
func (c cache) pluginsDir() string    { return filepath.Join(c.top, "plugins-"+pluginsVersion) }
func (c cache) coreDNSDir() string    { return filepath.Join(c.top, "coredns-"+coreDNSVersion) }

func (c cache) kubernetes(name string) string { return filepath.Join(c.kubernetesDir(), name) }
func (c cache) containerd(name string) string { return filepath.Join(c.containerdDir(), name) }
func (c cache) coreDNS() string               { return filepath.Join(c.coreDNSDir(), "coredns") }

// referencePlugins are those that runtimes and other plugins expect beside any CNI.
var referencePlugins = []string{"main/loopback", "meta/portmap", "meta/bandwidth", "meta/tuning", "meta/firewall", "ipam/host-local", "ipam/static"}

// plugin is a CNI plugin of the containernetworking project, "main/bridge".
func (c cache) plugin(name string) program {
	return program{dir: c.pluginsDir(), pkg: "github.com/containernetworking/plugins/plugins/" + name + "@" + pluginsVersion}
}

// programs are all that the cache must hold.
func (c cache) programs(o options) []program {
	var all []program
	version := func(pkg, field, value string) string { return " -X " + pkg + "." + field + "=" + value }
	base := "k8s.io/component-base/version"
	ldflags := version(base, "gitVersion", kubernetesVersion) + version(base, "gitMajor", "1") + version(base, "gitMinor", strings.Split(kubernetesVersion, ".")[1])
	names := []string{"kube-apiserver", "kubelet", "kube-controller-manager", "kube-scheduler", "kubectl"}
	if o.kubeProxy {
		names = append(names, "kube-proxy")
	}
	for _, name := range names {
		all = append(all, program{
			dir: c.kubernetesDir(), pkg: "k8s.io/kubernetes/cmd/" + name,
			module: filepath.Join(o.root, "test/cluster/kubernetes"), ldflags: ldflags,
		})
	}
	containerd := "github.com/containerd/containerd/v2"
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		all = append(all, program{
			dir: c.containerdDir(), pkg: containerd + "/cmd/" + name + "@" + containerdVersion,
			ldflags: version(containerd+"/version", "Version", containerdVersion),
		})
	}
	for _, name := range referencePlugins {
		all = append(all, c.plugin(name))
	}
	return append(all, program{
		dir: c.coreDNSDir(), pkg: "github.com/sluice-cni/sluice/test/cluster/coredns",
		module: filepath.Join(o.root, "test/cluster/coredns"),
	})
}

// missing are those that are not in the cache yet.
func (c cache) missing(programs []program) []program {
	var missing []program
	for _, p := range programs {
		if _, err := os.Stat(filepath.Join(p.dir, p.name())); err != nil {
			missing = append(missing, p)
		}
	}
	return missing
}

// fill builds what is missing, one after the other: each takes all processors there are.
func (c cache) fill(ctx context.Context, programs []program) error {
	missing := c.missing(programs)
	if len(missing) > 0 {
		progress("building %d programs into %s; all of them take about ten minutes on two processors", len(missing), c.top)
	}
	for i, p := range missing {
		began := time.Now()
		progress("  %d of %d: %s ...", i+1, len(missing), p.name())
		if err := p.build(ctx); err != nil {
			return fmt.Errorf("build %s: %w", p.name(), err)
		}
		progress("  %d of %d: %s built in %s", i+1, len(missing), p.name(), time.Since(began).Round(time.Second))
	}
	return nil
}

// build makes the executable, whole or not at all.
func (p program) build(ctx context.Context) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	part, err := os.MkdirTemp(p.dir, ".building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	args := []string{"install", "-trimpath", "-ldflags", "-s -w" + p.ldflags, p.pkg}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = p.module
	if p.module == "" {
		cmd.Dir = part // a package with a version is built by its own go.mod, from anywhere
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+part, "GOFLAGS=-buildvcs=false", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return os.Rename(filepath.Join(part, p.name()), filepath.Join(p.dir, p.name()))
}
