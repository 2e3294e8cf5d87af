package main

import (
	"os"
	"strings"
	"testing"
)

// A version stands in a go.mod or a Dockerfile, too, where no program can put it.
func TestVersionsAgree(t *testing.T) {
	for file, want := range map[string]string{
		"kubernetes/go.mod":      "k8s.io/kubernetes " + kubernetesVersion,
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
