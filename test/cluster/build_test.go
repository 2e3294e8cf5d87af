package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A version stands in a go.mod or a Dockerfile, too, where no program can put it.
func TestVersionsAgree(t *testing.T) {
	for file, want := range map[string]string{
		"kubernetes/go.mod":      "k8s.io/kubernetes " + kubernetesVersion,
		"coredns/go.mod":         "github.com/coredns/coredns " + coreDNSVersion,
		"../../go.mod":           "github.com/containernetworking/plugins " + pluginsVersion,
		"../../build/Dockerfile": "@" + pluginsVersion,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not have %q", file, want)
		}
	}
}

func TestTheDockerfileHasTheSamePlugins(t *testing.T) {
	text, err := os.ReadFile("../../build/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, plugin := range referencePlugins {
		if !strings.Contains(string(text), plugin) {
			t.Errorf("build/Dockerfile does not build %s", plugin)
		}
	}
}

func TestProgramsAreBuiltWhereTheyAreRunFrom(t *testing.T) {
	c := cache{t.TempDir()}
	var built []string
	for _, p := range c.programs(options{kubeProxy: true}) {
		built = append(built, filepath.Join(p.dir, p.name()))
	}
	for _, run := range []string{
		c.kubernetes("kube-apiserver"), c.kubernetes("kubelet"), c.kubernetes("kube-proxy"), c.kubernetes("kubectl"),
		c.containerd("containerd"), c.containerd("ctr"), filepath.Join(c.pluginsDir(), "loopback"), c.coreDNS(),
	} {
		if !slices.Contains(built, run) {
			t.Errorf("%s is not built: %v", run, built)
		}
	}
}
