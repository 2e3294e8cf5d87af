package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const goarch = runtime.GOARCH

// The images of a cluster. Each is on every node; none can be pulled.
const (
	pauseImage  = "sluice.test/pause:1"
	podImage    = "sluice.test/pod:1"
	sluiceImage = "sluice.test/sluice:dev"
)

// images are built from bin, where `make build` and this program's Makefile target
// put executables, and from the cache.
func images(ctx context.Context, c cache, bin string) ([]image, error) {
	pod := filepath.Join(bin, "sluice-cluster-pod")
	shell, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: install the package busybox-static", err)
	}
	test := image{podImage, map[string]string{"/bin/pod": pod, "/bin/busybox": shell}, []string{"/bin/pod", "serve"}}
	for _, tool := range []string{"sh", "ip", "ping", "cat", "ls", "wget", "nc", "sleep"} {
		test.files["/bin/"+tool] = "->busybox"
	}
	sluice, err := sluiceFiles(ctx, c, bin)
	if err != nil {
		return nil, err
	}
	return []image{
		{pauseImage, map[string]string{"/pause": filepath.Join(bin, "sluice-cluster-pause")}, []string{"/pause"}},
		test,
		{sluiceImage, sluice, []string{"/usr/local/bin/sluice-agent"}},
	}, nil
}

// sluiceFiles are what build/Dockerfile puts into Sluice's image: the executables, all
// static, and nft with its libraries, which the agent runs.
func sluiceFiles(ctx context.Context, c cache, bin string) (map[string]string, error) {
	files := map[string]string{
		"/usr/local/bin/sluice-agent": filepath.Join(bin, "sluice-agent"),
		"/usr/local/bin/sluicectl":    filepath.Join(bin, "sluicectl"),
		"/opt/cni/bin/sluice":         filepath.Join(bin, "sluice-cni"),
		"/var/run":                    "->/run",
	}
	for _, plugin := range referencePlugins {
		name := filepath.Base(plugin)
		files["/opt/cni/bin/"+name] = filepath.Join(c.pluginsDir(), name)
	}
	nft, err := find("nft")
	if err != nil {
		return nil, err
	}
	files["/usr/sbin/nft"] = nft
	out, err := exec.CommandContext(ctx, "ldd", nft).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", nft, err)
	}
	for line := range strings.Lines(string(out)) {
		for field := range strings.FieldsSeq(line) {
			if strings.HasPrefix(field, "/") {
				files[field] = field
			}
		}
	}
	return files, nil
}

// find looks for a program also where a user's PATH does not.
func find(name string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", errors.New(name + " is not installed: run scripts/deps.sh --cluster")
}
