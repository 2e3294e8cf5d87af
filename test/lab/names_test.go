package lab

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestLabNames(t *testing.T) {
	for name, good := range map[string]bool{
		"lab": true, "my-lab-2": true, strings.Repeat("x", maxLabName): true,
		"": false, "Lab": false, "a.b": false, "a/b": false, "-a": false, "a-": false, strings.Repeat("x", maxLabName+1): false,
	} {
		if err := checkLabName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSocketPathsFit(t *testing.T) {
	node := places{strings.Repeat("x", maxLabName)}.node(strings.Repeat("n", 253))
	for _, path := range []string{
		filepath.Join(node.ovsDir(), "123456789012345.snoop"),
		filepath.Join(node.ovsDir(), "ovs-vswitchd.4194304.ctl"),
		node.agentSocket(), node.cniSocket(),
	} {
		if len(path) > 107 {
			t.Errorf("%s has %d bytes, a unix socket's path may have 107", path, len(path))
		}
	}
}

func TestNamespacesOfOneLabAreNotAnothers(t *testing.T) {
	one, two := places{"a"}, places{"a-b"}
	for _, path := range []string{two.wireNetns(), two.nodeNetns("n1"), two.podNetns("default", "web")} {
		if strings.HasPrefix(filepath.Base(path), one.netnsPrefix()) {
			t.Errorf("%s looks like lab a's", path)
		}
	}
}

func TestLongNamesStayApart(t *testing.T) {
	p := places{"lab"}
	one, two := p.podNetns("default", strings.Repeat("x", 253)), p.podNetns("default", strings.Repeat("x", 252)+"y")
	if one == two || len(filepath.Base(one)) > 255 || len(filepath.Base(two)) > 255 {
		t.Errorf("namespaces %s and %s", one, two)
	}
}
