package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/ovs/rtnl"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// cniAnswer is what the executable printed: a result, or an error.
type cniAnswer struct {
	Code uint   `json:"code"`
	Msg  string `json:"msg"`
	IPs  []struct {
		Address string `json:"address"`
	} `json:"ips"`
	failed bool
	text   string
}

// call is one run of the executable.
type call struct {
	verb, container, netns, ifname, conf, args string
	// path is where other plugins are, beside the node's own.
	path string
}

const goodConf = `{"cniVersion":"1.1.0","name":"sluice","type":"sluice","socket":%q}`

// cni runs the executable on a node as a runtime does.
func cni(t *testing.T, n lab.NodeListing, c call) cniAnswer {
	t.Helper()
	if c.conf == "" {
		c.conf = fmt.Sprintf(goodConf, n.CNISocket)
	}
	if c.ifname == "" {
		c.ifname = "eth0"
	}
	ctx, cancel := context.WithTimeout(testContext(t), slow.Bound(90*time.Second))
	defer cancel()
	var out, stderr bytes.Buffer
	err := netns.Do(n.Netns, func() error {
		cmd := exec.CommandContext(ctx, filepath.Join(n.CNIBinDir, "sluice"))
		cmd.Env = []string{
			"CNI_COMMAND=" + c.verb, "CNI_CONTAINERID=" + c.container, "CNI_NETNS=" + c.netns,
			"CNI_IFNAME=" + c.ifname, "CNI_ARGS=" + c.args, "CNI_PATH=" + n.CNIBinDir + ":" + c.path, "PATH=" + os.Getenv("PATH"),
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.conf), &out, &stderr
		return cmd.Run()
	})
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run the executable: %v", err)
	}
	a := cniAnswer{failed: err != nil, text: out.String() + stderr.String()}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &a); err != nil {
			t.Fatalf("%s: stdout is no JSON: %v: %s", c.verb, err, out.String())
		}
	}
	return a
}

// trace is what an attachment leaves on a node.
func trace(t *testing.T, l *lab.Lab, n lab.NodeListing) string {
	t.Helper()
	var b strings.Builder
	err := netns.Do(n.Netns, func() error {
		links, err := rtnl.Links(rtnl.Here)
		for _, link := range links {
			if link.Type() == "veth" && link.Attrs().Name != "phy" {
				fmt.Fprintln(&b, "veth", link.Attrs().Name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"Port", "Interface"} {
		out, err := l.Exec(testContext(t), "node/"+n.Name, "ovs-vsctl", "--db=unix:"+n.OVSRunDir+"/db.sock", "--columns=name,external_ids", "list", what)
		if err != nil {
			fmt.Fprintln(&b, "no database")
			continue
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "slc") || strings.Contains(line, "sluice-container") {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

func TestBadInputIsNamedAndLeavesNothing(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	ns := ovstest.NewNamespace(t).Path
	file := filepath.Join(t.TempDir(), "no-netns")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := func(more string) string {
		return strings.TrimSuffix(fmt.Sprintf(goodConf, n.CNISocket), "}") + more + "}"
	}
	before := trace(t, l, n)
	for _, c := range []struct {
		name string
		call call
		code uint
		says []string
	}{
		{"a conf that is no JSON", call{conf: `{"cniVersion":`}, 6, []string{"line 1"}},
		{"an unknown field", call{conf: conf(`,"mtuu":1400`)}, 2, []string{"mtuu"}},
		{"a value of the wrong type", call{conf: conf(`,"mtu":"fast"`)}, 7, []string{"mtu", "fast"}},
		{"an MTU that no link has", call{conf: conf(`,"mtu":7`)}, 7, []string{"mtu", "68"}},
		{"a range with host bits", call{conf: conf(`,"ranges":["10.1.2.3/24"]`)}, 7, []string{"ranges", "10.1.2.3/24"}},
		{"no name", call{conf: strings.Replace(conf(""), `"name":"sluice",`, "", 1)}, 7, []string{"name"}},
		{"a version of the far future", call{conf: strings.Replace(conf(""), "1.1.0", "9.0.0", 1)}, 1, []string{"9.0.0", "1.1.0"}},
		{"a netns that is not there", call{netns: "/run/netns/not-there"}, 4, []string{"CNI_NETNS", "/run/netns/not-there"}},
		{"a file that is no netns", call{netns: file}, 4, []string{"CNI_NETNS", file}},
		{"a relative netns", call{netns: "netns"}, 4, []string{"CNI_NETNS"}},
		{"an interface name that the kernel refuses", call{ifname: "an-interface-name"}, 4, []string{"CNI_IFNAME"}},
		{"a container id with a slash", call{container: "a/b"}, 4, []string{"CNI_CONTAINERID"}},
		{"an unknown argument", call{args: "FOO=bar"}, 4, []string{"CNI_ARGS", "FOO"}},
		{"an interface that is there already", call{ifname: "lo"}, 999, []string{"lo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.call.verb = "ADD"
			if c.call.container == "" {
				c.call.container = "bad1"
			}
			if c.call.netns == "" {
				c.call.netns = ns
			}
			a := cni(t, n, c.call)
			if !a.failed || a.Code != c.code {
				t.Errorf("code %d, want %d: %s", a.Code, c.code, a.text)
			}
			for _, s := range c.says {
				if !strings.Contains(a.Msg, s) {
					t.Errorf("the message does not say %q: %s", s, a.Msg)
				}
			}
			if after := trace(t, l, n); after != before {
				t.Errorf("left behind:\n%s", after)
			}
		})
	}
	// No address was taken: the first one is still free.
	a := cni(t, n, call{verb: "ADD", container: "good", netns: ns})
	if a.failed || len(a.IPs) != 1 || a.IPs[0].Address != "10.244.1.2/32" {
		t.Errorf("the first address is not free after all that: %s", a.text)
	}
	if a := cni(t, n, call{verb: "ADD", container: "good", netns: ns}); !a.failed || !strings.Contains(a.Msg, "already") {
		t.Errorf("a second ADD of one attachment: %s", a.text)
	}
	for range 2 {
		if a := cni(t, n, call{verb: "DEL", container: "good", netns: ns}); a.failed {
			t.Errorf("DEL: %s", a.text)
		}
	}
	eventually(t, "the cable is gone", func() error {
		if after := trace(t, l, n); after != before {
			return errors.New(after)
		}
		return nil
	})
}

func TestAMissingBridgeIsMadeAgain(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	if _, err := l.Exec(testContext(t), "node/n1", "ovs-vsctl", "--db=unix:"+n.OVSRunDir+"/db.sock", "del-br", "br-sluice"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ADD works again", func() error {
		a := cni(t, n, call{verb: "ADD", container: "c1", netns: ns})
		if a.failed {
			if a.Code != 11 {
				t.Fatalf("while the bridge is away ADD answers code %d: %s", a.Code, a.text)
			}
			return errors.New(a.text)
		}
		return nil
	})
	// The pods that were there are, too: their cables are put back.
	eventually(t, "the old pods talk again", func() error {
		results, err := l.Probe(testContext(t), lab.ProbeRequest{
			From: []lab.Endpoint{{Kind: lab.PodEndpoint, Namespace: "default", Name: "a1"}},
			To:   []lab.Endpoint{{Kind: lab.PodEndpoint, Namespace: "default", Name: "b1"}}, Protocol: "icmp",
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(results) != 1 || !results[0].Reached {
			return fmt.Errorf("%+v", results)
		}
		return nil
	})
	if a := cni(t, n, call{verb: "DEL", container: "c1", netns: ns}); a.failed {
		t.Errorf("DEL: %s", a.text)
	}
}

func TestOpenVSwitchNotRunning(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	if a := cni(t, n, call{verb: "ADD", container: "before", netns: ns}); a.failed {
		t.Fatal(a.text)
	}
	for _, c := range []struct {
		daemon lab.Daemon
		says   string
	}{{lab.Vswitchd, "ovs-vswitchd"}, {lab.OVSDB, "ovsdb-server"}} {
		t.Run(string(c.daemon), func(t *testing.T) {
			if err := l.Kill(testContext(t), "n1", c.daemon); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			a := cni(t, n, call{verb: "ADD", container: "c-" + string(c.daemon), netns: ns, ifname: "net1"})
			if !a.failed || a.Code != 11 || !strings.Contains(a.Msg, c.says) {
				t.Errorf("ADD: %s", a.text)
			}
			t.Logf("after %s: %s", time.Since(began).Round(time.Millisecond), a.Msg)
			links, err := l.Exec(testContext(t), "node/n1", "ip", "-o", "link", "show", "type", "veth")
			if err != nil || strings.Count(string(links), "slc") != 1 {
				t.Errorf("veths: %s, %v", links, err)
			}
			s := statusOf(t, n)
			if s.Ready || !strings.Contains(strings.Join(s.Problems, "\n"), c.says) {
				t.Errorf("status: ready %v, problems %v", s.Ready, s.Problems)
			}
			if err := l.Start(testContext(t), "n1", c.daemon); err != nil {
				t.Fatal(err)
			}
			eventually(t, "ADD works again", func() error {
				if a := cni(t, n, call{verb: "ADD", container: "d-" + string(c.daemon), netns: ns, ifname: "net2"}); a.failed {
					return errors.New(a.text)
				}
				return nil
			})
			if a := cni(t, n, call{verb: "DEL", container: "d-" + string(c.daemon), netns: ns, ifname: "net2"}); a.failed {
				t.Error(a.text)
			}
		})
	}
}

func TestANodeWithoutPodCIDR(t *testing.T) {
	objects, err := lab.ParseObjects("test", []byte(`
apiVersion: v1
kind: Node
metadata: {name: bare}
spec: {podCIDRs: []}
`))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 1, Objects: objects})
	n, ns := node(t, l, "bare"), ovstest.NewNamespace(t).Path
	a := cni(t, n, call{verb: "ADD", container: "c1", netns: ns})
	if !a.failed || !strings.Contains(a.Msg, `node "bare"`) || !strings.Contains(a.Msg, "spec.podCIDRs") || !strings.Contains(a.Msg, "--allocate-node-cidrs") {
		t.Errorf("ADD: %s", a.text)
	}
	if s := statusOf(t, n); s.Ready || !strings.Contains(strings.Join(s.Problems, "\n"), "spec.podCIDRs") {
		t.Errorf("status: ready %v, %v", s.Ready, s.Problems)
	}
	if left := trace(t, l, n); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestAnExhaustedPodCIDR(t *testing.T) {
	objects, err := lab.ParseObjects("test", []byte(`
apiVersion: v1
kind: Node
metadata: {name: small}
spec: {podCIDRs: [10.244.77.0/30]}
`))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 1, Objects: objects})
	n := node(t, l, "small")
	first, second := ovstest.NewNamespace(t).Path, ovstest.NewNamespace(t).Path
	if a := cni(t, n, call{verb: "ADD", container: "c1", netns: first, args: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart"}); a.failed {
		t.Fatal(a.text)
	}
	before := trace(t, l, n)
	a := cni(t, n, call{verb: "ADD", container: "c2", netns: second})
	if !a.failed || a.Code != 11 || !strings.Contains(a.Msg, "10.244.77.0/30") || !strings.Contains(a.Msg, "shop/cart") {
		t.Errorf("ADD: %s", a.text)
	}
	if after := trace(t, l, n); after != before {
		t.Errorf("left behind:\n%s", after)
	}
	if a := cni(t, n, call{verb: "DEL", container: "c1", netns: first}); a.failed {
		t.Fatal(a.text)
	}
	if a := cni(t, n, call{verb: "ADD", container: "c2", netns: second}); a.failed || a.IPs[0].Address != "10.244.77.2/32" {
		t.Errorf("after a DEL: %s", a.text)
	}
}

func TestMalformedManifests(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1})
	n := node(t, l, "n1")
	good := statusOf(t, n)
	flows := typed(t, l, n)
	put := func(name, text string) {
		t.Helper()
		tmp := filepath.Join(n.ManifestsDir, ".tmp")
		if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(n.ManifestsDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	shown := func(text string) func() error {
		return func() error {
			s := statusOf(t, n)
			if !strings.Contains(strings.Join(s.Input.Errors, "\n"), text) {
				return fmt.Errorf("status shows %q", s.Input.Errors)
			}
			if s.Input.Seen == s.Input.Installed || s.Input.Installed != good.Input.Installed {
				t.Errorf("seen %s, installed %s, good %s", s.Input.Seen, s.Input.Installed, good.Input.Installed)
			}
			return nil
		}
	}
	for _, c := range []struct{ name, text, says string }{
		{"a tab where YAML has none", "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: x\n", "zz.yaml:4"},
		{"a bad podCIDR in the second document", "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ok}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n9}\nspec: {podCIDRs: [10.244.9.0]}\n", "zz.yaml:6: Node n9"},
		{"a label that is a number", "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {a: 5}}\n", "zz.yaml:1: Pod x"},
		{"no object at all", "hello: world\n", "zz.yaml:1"},
		{"an object that stands in another file", "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n", "already defined"},
	} {
		t.Run(c.name, func(t *testing.T) {
			put("zz.yaml", c.text)
			eventually(t, "the status shows it", shown(c.says))
			compare(t, "while the manifests cannot be read", typed(t, l, n), flows)
		})
	}
	log, err := l.LogFile("n1", lab.Agent)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "zz.yaml:4") {
		t.Errorf("the log does not name file and line: %v", err)
	}

	// The last good state outlives the agent.
	memory := filepath.Join(filepath.Dir(n.AgentSocket), "last-input.json")
	eventually(t, "the last good state is remembered", func() error {
		if text, err := os.ReadFile(memory); err != nil || !strings.Contains(string(text), good.Input.Installed) {
			return fmt.Errorf("%s, %w", text, err)
		}
		return nil
	})
	put("zz.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: x\n")
	if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	ofctl(t, l, "node/n1", "del-flows", "unix:"+n.OVSRunDir+"/br-sluice.mgmt")
	again := make(chan error, 1)
	go func() { again <- l.Start(context.Background(), "n1", lab.Agent) }()
	eventually(t, "the last good state is in force", func() error {
		if now := typed(t, l, n); len(now) != len(flows) {
			return fmt.Errorf("%d flows, want %d", len(now), len(flows))
		}
		s, err := apiStatus(n)
		if err != nil {
			return err
		}
		if s.Input.Installed != good.Input.Installed || !strings.Contains(strings.Join(s.Problems, "\n"), "zz.yaml:4") {
			return fmt.Errorf("installed %q, problems %v", s.Input.Installed, s.Problems)
		}
		return nil
	})
	if err := os.Remove(filepath.Join(n.ManifestsDir, "zz.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := <-again; err != nil {
		t.Fatal(err)
	}

	// On a node that remembers none, nothing is installed from a directory that cannot
	// be read whole.
	put("zz.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: x\n")
	if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	ofctl(t, l, "node/n1", "del-flows", "unix:"+n.OVSRunDir+"/br-sluice.mgmt")
	if err := os.Remove(memory); err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() { started <- l.Start(context.Background(), "n1", lab.Agent) }()
	eventually(t, "the status shows it", func() error {
		s, err := apiStatus(n)
		if err != nil {
			return err
		}
		if !strings.Contains(strings.Join(s.Problems, "\n"), "zz.yaml:4") || s.Input.Installed != "" || s.Ready {
			return fmt.Errorf("installed %q, ready %v, problems %v", s.Input.Installed, s.Ready, s.Problems)
		}
		return nil
	})
	if now := typed(t, l, n); len(now) != 0 {
		t.Errorf("%d flows were installed from a directory that cannot be read whole", len(now))
	}
	if err := os.Remove(filepath.Join(n.ManifestsDir, "zz.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the flows are back", func() error {
		if now := typed(t, l, n); len(now) != len(flows) {
			return fmt.Errorf("%d flows, want %d", len(now), len(flows))
		}
		return nil
	})
}
