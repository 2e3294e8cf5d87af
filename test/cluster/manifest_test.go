package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-cni/sluice/agent/source/kube"
)

const manifests = "../../build/manifests"

// object reads the object of that kind out of a manifest; a field that its type does
// not have is an error.
func object(t *testing.T, text []byte, kind string, into any) {
	t.Helper()
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var meta struct{ Kind string }
		if err := yaml.Unmarshal(document, &meta); err != nil {
			t.Fatal(err)
		}
		if meta.Kind == kind {
			if err := yaml.UnmarshalStrict(document, into); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("there is no %s", kind)
}

func manifest(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manifests, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTheDaemonSetRunsOnEveryNodeAndIsRolledOutNodeByNode(t *testing.T) {
	var set appsv1.DaemonSet
	object(t, manifest(t, "sluice.yaml"), "DaemonSet", &set)
	pod := set.Spec.Template.Spec
	if !pod.HostNetwork || pod.PriorityClassName != "system-node-critical" || pod.Containers[0].Image != sluiceImage {
		t.Errorf("host network %v, priority %q, image %q", pod.HostNetwork, pod.PriorityClassName, pod.Containers[0].Image)
	}
	if want := []corev1.Toleration{{Operator: corev1.TolerationOpExists}}; !slices.Equal(pod.Tolerations, want) {
		t.Errorf("tolerates %v, not everything", pod.Tolerations)
	}
	if u := set.Spec.UpdateStrategy; u.RollingUpdate == nil || u.RollingUpdate.MaxUnavailable.IntValue() != 1 {
		t.Errorf("update strategy %v", u)
	}
}

// TestTheAgentIsToldWhereTheAPIServerIs: it never has the address of the Service "kubernetes" that kubelet would give it.
func TestTheAgentIsToldWhereTheAPIServerIs(t *testing.T) {
	var set appsv1.DaemonSet
	object(t, manifest(t, "sluice.yaml"), "DaemonSet", &set)
	told := map[string]string{}
	for _, e := range set.Spec.Template.Spec.Containers[0].Env {
		if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil && e.ValueFrom.ConfigMapKeyRef.Optional == nil {
			told[e.Name] = e.ValueFrom.ConfigMapKeyRef.Key
		}
	}
	if told["KUBERNETES_SERVICE_HOST"] != "api-server-host" || told["KUBERNETES_SERVICE_PORT"] != "api-server-port" {
		t.Errorf("what it must be told is %v", told)
	}
}

func TestTheAgentMayOnlyReadAndTellEvents(t *testing.T) {
	var role rbacv1.ClusterRole
	object(t, manifest(t, "sluice.yaml"), "ClusterRole", &role)
	events := rbacv1.PolicyRule{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}}
	for _, rule := range role.Rules {
		if reflect.DeepEqual(rule, events) {
			continue
		}
		for _, verb := range rule.Verbs {
			if verb != "get" && verb != "list" && verb != "watch" {
				t.Errorf("it may %s %v", verb, rule.Resources)
			}
		}
	}
}

func TestConfigureSetsTheConfigMapAndNothingElse(t *testing.T) {
	text := manifest(t, "sluice.yaml")
	edited, err := configure(text, map[string]any{"api-server-host": "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	var before, after corev1.ConfigMap
	object(t, text, "ConfigMap", &before)
	object(t, edited, "ConfigMap", &after)
	if after.Data["api-server-host"] != "192.0.2.1" || len(after.Data) != len(before.Data)+1 {
		t.Errorf("its data are %v", after.Data)
	}
	// The other documents are as they were, comments and all.
	if have, want := bytes.Count(edited, []byte("\n---\n")), bytes.Count(text, []byte("\n---\n")); have != want {
		t.Errorf("%d documents, not %d", have+1, want+1)
	}
	if _, err := configure([]byte("kind: Pod\n"), nil); err == nil {
		t.Error("no ConfigMap, and no error")
	}
}

func TestTheUninstallerIsOfTheSameImage(t *testing.T) {
	var set appsv1.DaemonSet
	object(t, manifest(t, "uninstall.yaml"), "DaemonSet", &set)
	for _, c := range append(set.Spec.Template.Spec.InitContainers, set.Spec.Template.Spec.Containers...) {
		if c.Image != sluiceImage {
			t.Errorf("container %s has image %s, not %s", c.Name, c.Image, sluiceImage)
		}
	}
}

// What the manifest gives is what the agent needs and names when it is missing.
func TestTheRoleGivesTheRightsThatTheAgentNeeds(t *testing.T) {
	role, err := readRole("../..")
	if err != nil {
		t.Fatal(err)
	}
	given, needed := rightsOf(role), slices.Clone(kube.Rights)
	order := func(a, b kube.Right) int { return strings.Compare(a.String(), b.String()) }
	slices.SortFunc(given, order)
	slices.SortFunc(needed, order)
	if !slices.Equal(given, needed) {
		t.Errorf("build/manifests/sluice.yaml gives %v, the agent (kube.Rights) needs %v", given, needed)
	}
	for _, r := range given {
		if rest := rightsOf(&rbacv1.ClusterRole{Rules: without(role, r)}); slices.Contains(rest, r) || len(rest) != len(given)-1 {
			t.Errorf("without %s: %v", r, rest)
		}
	}
}
