package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const goarch = runtime.GOARCH

// The images of a cluster. Each is on every node; none can be pulled.
const (
	pauseImage  = "sluice.test/pause:1"
	podImage    = "sluice.test/pod:1"
	sluiceImage = "sluice.test/sluice:dev"
	dnsImage    = "sluice.test/coredns:1"
)

// images are built from bin, where `make build` and this program's Makefile target
// put executables, and from the cache.
func images(ctx context.Context, c cache, bin string) ([]image, error) {
	pod := filepath.Join(bin, "sluice-cluster-pod")
	shell, err := find("busybox")
	if err != nil {
		return nil, err
	}
	test := image{podImage, map[string]string{"/bin/pod": pod, "/bin/busybox": shell}, []string{"/bin/pod", "serve"}}
	if err := addLibraries(ctx, test.files, shell); err != nil {
		return nil, err
	}
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
		{dnsImage, map[string]string{"/coredns": c.coreDNS()}, []string{"/coredns"}},
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
	return files, addLibraries(ctx, files, nft)
}

// addLibraries adds what a program is linked with; that is nothing for a static one.
func addLibraries(ctx context.Context, files map[string]string, program string) error {
	binary, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer binary.Close()
	if !slices.ContainsFunc(binary.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return nil
	}
	out, err := exec.CommandContext(ctx, "ldd", program).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", program, err)
	}
	for line := range strings.Lines(string(out)) {
		for field := range strings.FieldsSeq(line) {
			if strings.HasPrefix(field, "/") {
				files[field] = field
			}
		}
	}
	return nil
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
