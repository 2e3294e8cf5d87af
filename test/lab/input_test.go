package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const podA = `apiVersion: v1
kind: Pod
metadata: {name: a}
`

func keys(objects []Object) []string {
	var keys []string
	for _, object := range objects {
		keys = append(keys, object.Key().String())
	}
	return keys
}

func TestReadingObjects(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"one document", podA, []string{"pod/default/a"}},
		{"several documents, and a namespace that is named", podA + `---
kind: Pod
apiVersion: v1
metadata: {name: b, namespace: prod}
`, []string{"pod/default/a", "pod/prod/b"}},
		{"documents without content", "# nothing\n---\n---\n" + podA + "---\n# end\n", []string{"pod/default/a"}},
		{"a comment behind the separator", podA + "--- # next\n" + strings.Replace(podA, "a}", "b}", 1), []string{"pod/default/a", "pod/default/b"}},
		{"content behind the separator", "--- {apiVersion: v1, kind: Node, metadata: {name: n1}}\n", []string{"node/n1"}},
		{"carriage returns", strings.ReplaceAll(podA+"---\n"+strings.Replace(podA, "a}", "b}", 1), "\n", "\r\n"), []string{"pod/default/a", "pod/default/b"}},
		{"a list, with a list in it", `apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: n1}}
- apiVersion: v1
  kind: PodList
  items:
  - {apiVersion: v1, kind: Pod, metadata: {name: a}}
`, []string{"node/n1", "pod/default/a"}},
		{"JSON", `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}`, []string{"service/default/web"}},
		{"a kind that nobody knows keeps the scope it has", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\n", []string{"thing/x"}},
		{"kinds without a namespace", "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: x}\n", []string{"clusternetworkpolicy/x"}},
		{"nothing", "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			objects, err := ParseObjects("file.yaml", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, keys(objects)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadingFailsWithFileAndLine(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"a syntax error in the second document", podA + "---\nkind: Pod\nmetadata: {\n", "file.yaml:6: not YAML"},
		{"bad indentation", "kind: Pod\n  name: x\n", "file.yaml:2: not YAML"},
		{"a field given twice", podA + "kind: Node\n", "file.yaml:4: not YAML"},
		{"no kind", podA + "---\n\napiVersion: v1\nmetadata: {name: x}\n", "file.yaml:6: the object has no kind"},
		{"no name", podA + "---\napiVersion: v1\nkind: Pod\n", "file.yaml:5: the Pod has no metadata.name"},
		{"a name that is a number", "apiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n", "file.yaml:1: the Pod has no metadata.name"},
		{"no object", "- a\n- b\n", "file.yaml:1: a Kubernetes object is wanted"},
		{"a label that is no string", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {x: 1}}\n", "file.yaml:1: pod/a: metadata.labels must hold strings"},
		{"a name that no API server takes", "apiVersion: v1\nkind: Pod\nmetadata: {name: a/b}\n", "file.yaml:1: bad name of pod/default/a/b"},
		{"a Node in a namespace", "apiVersion: v1\nkind: Node\nmetadata: {name: a, namespace: b}\n", "file.yaml:1: a Node has no namespace"},
		{"in a list", "apiVersion: v1\nkind: List\nitems:\n- {kind: Pod}\n", "file.yaml:1: item 1: the object has no apiVersion"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			objects, err := ParseObjects("file.yaml", []byte(test.text))
			if err == nil {
				t.Fatalf("read %v", keys(objects))
			}
			if !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("error %q, want %q...", err, test.want)
			}
		})
	}
}

func TestUnknownFieldsAndNumbersAreKept(t *testing.T) {
	const text = `apiVersion: example.com/v1
kind: Thing
metadata:
  name: x
spec:
  big: 12345678901
  list:
  - 1
  - 1.5
  - true
`
	objects, err := ParseObjects("file.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := objects[0].yaml()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestReadingFilesAndDirectories(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pod := func(name string) string { return strings.Replace(podA, "a}", name+"}", 1) }
	write("d/2.yml", pod("two"))
	write("d/1.yaml", pod("one"))
	write("d/.hidden.yaml", "{")
	write("d/README", "{")
	single := write("3.json", `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}`)

	objects, err := ReadObjects([]string{filepath.Join(dir, "d"), single, "-"}, strings.NewReader(pod("stdin")))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"pod/default/one", "pod/default/two", "node/n1", "pod/default/stdin"}
	if diff := cmp.Diff(want, keys(objects)); diff != "" {
		t.Error(diff)
	}

	t.Run("an object given twice is refused, with both places", func(t *testing.T) {
		twice := write("twice.yaml", pod("one"))
		_, err := ReadObjects([]string{filepath.Join(dir, "d"), twice}, nil)
		if err == nil || !strings.Contains(err.Error(), "twice.yaml:1: pod/default/one is already given at "+filepath.Join(dir, "d/1.yaml")+":1") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("all errors of all files are told", func(t *testing.T) {
		bad, worse := write("bad.yaml", "{"), write("worse.yaml", "a: 1")
		_, err := ReadObjects([]string{bad, worse, filepath.Join(dir, "absent.yaml")}, nil)
		for _, want := range []string{"bad.yaml:1", "worse.yaml:1", "absent.yaml"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v does not tell of %s", err, want)
			}
		}
	})
	t.Run("a directory without manifests is an error", func(t *testing.T) {
		if _, err := ReadObjects([]string{t.TempDir()}, nil); err == nil {
			t.Error("no error")
		}
	})
}

func TestFileNames(t *testing.T) {
	long := strings.Repeat("x", 253)
	tests := []struct {
		key  Key
		want string
	}{
		{podKey("default", "web"), "pod_default_web.yaml"},
		{nodeKey("n1"), "node_n1.yaml"},
		{Key{"networking.k8s.io", "NetworkPolicy", "prod", "deny"}, "networkpolicy.networking.k8s.io_prod_deny.yaml"},
		{Key{"rbac.authorization.k8s.io", "Role", "a", "system:x/y_z"}, "role.rbac.authorization.k8s.io_a_system:x%2Fy%5Fz.yaml"},
	}
	for _, test := range tests {
		if got := test.key.fileName(); got != test.want {
			t.Errorf("file of %s is %s, want %s", test.key, got, test.want)
		}
	}
	one, two := podKey("default", long+"1").fileName(), podKey("default", long+"2").fileName()
	if len(one) > maxFileName || one == two {
		t.Errorf("files of long names are %q and %q", one, two)
	}
}
