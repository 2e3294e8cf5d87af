package scenarios

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// podsOf are the attachments as `sluicectl pods` has them, by container.
func podsOf(t *testing.T, n lab.NodeListing) map[string]api.PodStatus {
	t.Helper()
	list, err := api.NewClient(n.AgentSocket).Pods(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]api.PodStatus{}
	for _, p := range list {
		out[p.ContainerID] = p
	}
	return out
}

func TestGCEndsWhatIsNotListedOfItsOwnNetwork(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	confOf := func(network, more string) string {
		return strings.Replace(confWith(n, more), `"name":"sluice"`, fmt.Sprintf(`"name":%q`, network), 1)
	}
	add := func(network, id, ifname string) {
		added(t, n, call{container: id, netns: ns, ifname: ifname, conf: confOf(network, `"dns":{}`)})
	}
	// The ids share their first twelve characters; one network twice under two names.
	add("one", "0123456789ab-1", "eth0")
	add("one", "0123456789ab-1", "net1")
	add("one", "0123456789ab-2", "eth2")
	add("two", "0123456789ab-2", "eth3")
	there := func() (out []string) {
		list, err := api.NewClient(n.AgentSocket).Pods(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			out = append(out, p.Network+"/"+strings.TrimPrefix(p.ContainerID, "0123456789ab-")+"/"+p.IfName)
		}
		return out
	}
	all := []string{"one/1/eth0", "one/1/net1", "one/2/eth2", "two/2/eth3"}
	for _, c := range []struct {
		name, network, more string
		left                []string
	}{
		{"no list", "one", `"dns":{}`, all},
		{"a null", "one", `"cni.dev/valid-attachments":null`, all},
		{"an empty list, with GC off", "one", `"cni.dev/valid-attachments":[],"disableGC":true`, all},
		{"a list of another network", "three", `"cni.dev/valid-attachments":[]`, all},
		{
			"all but one", "one", `"cni.dev/valid-attachments":[{"containerID":"0123456789ab-1","ifname":"eth0"},{"containerID":"0123456789ab-2","ifname":"eth2"}]`,
			[]string{"one/1/eth0", "one/2/eth2", "two/2/eth3"},
		},
		{"by the older name", "one", `"cni.dev/attachments":[{"containerID":"0123456789ab-1","ifname":"eth0"}]`, []string{"one/1/eth0", "two/2/eth3"}},
		{"an empty list", "one", `"cni.dev/valid-attachments":[]`, []string{"two/2/eth3"}},
	} {
		a := cni(t, n, call{verb: "GC", conf: confOf(c.network, c.more)})
		if a.failed || a.text != "" {
			t.Errorf("%s: GC: %s", c.name, a.text)
		}
		if got := there(); !slices.Equal(got, c.left) {
			t.Errorf("%s: left are %v, want %v", c.name, got, c.left)
		}
	}
	if a := cni(t, n, call{verb: "GC", conf: strings.Replace(confOf("two", `"cni.dev/valid-attachments":[]`), "1.1.0", "1.0.0", 1)}); !a.failed || a.Code != 1 {
		t.Errorf("GC in version 1.0.0: %s", a.text)
	}
	deleted(t, n, call{container: "0123456789ab-2", netns: ns, ifname: "eth3", conf: confOf("two", `"dns":{}`)})
}

// inhabited starts a process in the namespace, which ends with the test.
func inhabited(t *testing.T, sandbox string) (end func()) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := netns.Do(sandbox, cmd.Start); err != nil {
		t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	return end
}

// TestADeadSandboxIsCollectedAndALivingOneIsNot although its Pod is gone and, of one,
// the namespace's file too.
func TestADeadSandboxIsCollectedAndALivingOneIsNot(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	var text strings.Builder
	spaces := map[string]*ovstest.Namespace{}
	for _, name := range []string{"dead", "alive", "moved", "empty"} {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: %s}\n", name)
		spaces[name] = ovstest.NewNamespace(t)
	}
	known(t, n, text.String())
	endDead := inhabited(t, spaces["dead"].Path)
	inhabited(t, spaces["alive"].Path)
	inhabited(t, spaces["moved"].Path)
	for name, ns := range spaces {
		added(t, n, call{container: name, netns: ns.Path, args: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" + name})
	}
	if err := netns.Delete(filepath.Base(spaces["moved"].Path)); err != nil {
		t.Fatal(err)
	}
	orphan := func(name, says string) func() error {
		return func() error {
			p, ok := podsOf(t, n)[name]
			if !ok {
				t.Fatalf("%s is unplugged", name)
			}
			if p.State != api.PodOrphan || !strings.Contains(p.Reason, says) {
				return fmt.Errorf("%s: %s", p.State, p.Reason)
			}
			return nil
		}
	}
	eventually(t, "a namespace without its file is an orphan", orphan("moved", "its network namespace is no longer at "+spaces["moved"].Path+"; kept, as process"))
	known(t, n, "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n")
	eventually(t, "a living sandbox without a Pod is an orphan", orphan("alive", "its Pod is gone; kept, as process"))
	eventually(t, "one of which nothing is known is an orphan", orphan("empty", "never seen a process in it"))
	eventually(t, "so is one that still lives", orphan("dead", "its Pod is gone; kept, as process"))
	endDead()
	end := time.Now().Add(slow.Bound(40 * time.Second))
	for {
		if _, there := podsOf(t, n)["dead"]; !there {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the dead sandbox is not collected: %+v", podsOf(t, n))
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, name := range []string{"alive", "moved", "empty"} {
		if p := podsOf(t, n)[name]; p.State != api.PodOrphan {
			t.Errorf("%s: %+v", name, p)
		}
	}
	out, err := exec.Command(executable("sluicectl"), "--socket", n.AgentSocket, "pods").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "orphan: its Pod is gone; kept, as process") || strings.Count(string(out), "\n") != 4 {
		t.Errorf("sluicectl pods: %v\n%s", err, out)
	}
	for name, ns := range spaces {
		deleted(t, n, call{container: name, netns: ns.Path})
	}
}

// TestAfterAReboot: the cables and namespaces are gone, OVSDB is kept, and all leases
// are freed; DEL succeeds.
func TestAfterAReboot(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	var spaces []*ovstest.Namespace
	for i := range 5 {
		spaces = append(spaces, ovstest.NewNamespace(t))
		added(t, n, call{container: fmt.Sprintf("c%d", i), netns: spaces[i].Path})
	}
	if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	for _, ns := range spaces {
		if err := netns.Delete(filepath.Base(ns.Path)); err != nil {
			t.Fatal(err)
		}
	}
	if left := trace(t, l, n); strings.Count(left, "sluice-container") != 5 {
		t.Fatalf("OVSDB holds %s", left)
	}
	restarted(t, l, n, lab.Agent)
	deleted(t, n, call{container: "c0", netns: spaces[0].Path})
	eventually(t, "all leases are freed", func() error {
		if left := trace(t, l, n); left != "" {
			return errors.New(left)
		}
		return nil
	})
}

// TestOVSDBIsLost while pods run: their rows are written again from their cables, and
// nobody else gets their addresses.
func TestOVSDBIsLost(t *testing.T) {
	for _, families := range []lab.Families{lab.IPv4, lab.Dual} {
		t.Run(string(families), func(t *testing.T) { loseOVSDB(t, families) })
	}
}

func loseOVSDB(t *testing.T, families lab.Families) {
	l := up(t, lab.Options{Nodes: 1, Families: families, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	held := map[string]string{}
	var spaces []string
	for i := range 8 {
		spaces = append(spaces, ovstest.NewNamespace(t).Path)
		id := fmt.Sprintf("%063x%d", 7, i)
		held[added(t, n, call{container: id, netns: spaces[i], args: fmt.Sprintf("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-%d;K8S_POD_UID=11111111-2222-3333-4444-55555555555%d", i, i)})] = id
	}
	deleted(t, n, call{container: held["10.244.1.4"], netns: spaces[2]})
	delete(held, "10.244.1.4")
	before := podsOf(t, n)
	loseDatabase(t, l, n)
	ns := ovstest.NewNamespace(t).Path
	for i := range 10 {
		addr := added(t, n, call{container: fmt.Sprintf("new%d", i), netns: ns, ifname: fmt.Sprintf("new%d", i)})
		if id, taken := held[addr]; taken {
			t.Errorf("%s is given again, and %s lives", addr, id)
		}
	}
	after := podsOf(t, n)
	for id, was := range before {
		is := after[id]
		was.Reason, is.Reason = "", ""
		if fmt.Sprint(is.Addresses) != fmt.Sprint(was.Addresses) || is.MAC != was.MAC || is.Pod != was.Pod || is.NetNS != was.NetNS || is.State != was.State {
			t.Errorf("%s: was %+v, is %+v", id, was, is)
		}
	}
	for i, ns := range spaces {
		if i != 2 {
			pings(t, l, n, ns)
		}
	}
	for i, ns := range spaces {
		deleted(t, n, call{container: fmt.Sprintf("%063x%d", 7, i), netns: ns})
	}
	for i := range 10 {
		deleted(t, n, call{container: fmt.Sprintf("new%d", i), netns: ns, ifname: fmt.Sprintf("new%d", i)})
	}
	nothingLeft(t, l, n)
}

// TestTwoSandboxesOfOnePod: the newest is the pod, the older can do nothing, and goes
// without touching it.
func TestTwoSandboxesOfOnePod(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	const args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_UID=u1"
	old, young := ovstest.NewNamespace(t).Path, ovstest.NewNamespace(t).Path
	added(t, n, call{container: "old", netns: old, args: args})
	pings(t, l, n, old)
	added(t, n, call{container: "young", netns: young, args: args})
	pings(t, l, n, young)
	if out, err := l.Exec(testContext(t), "node/n1", "nsenter", "--net="+old, "ping", "-c1", "-W1", gatewayOf(t, l, n)); err == nil {
		t.Errorf("the older sandbox still speaks: %s", out)
	}
	if p := podsOf(t, n); p["old"].State != api.PodSuperseded || p["young"].State != api.PodPlugged {
		t.Errorf("%+v", p)
	}
	deleted(t, n, call{container: "old", netns: old})
	pings(t, l, n, young)
	deleted(t, n, call{container: "young", netns: young})
}

// loseDatabase kills all of the node's daemons, and starts them again with an empty database.
func loseDatabase(t *testing.T, l *lab.Lab, n lab.NodeListing) {
	t.Helper()
	for _, d := range []lab.Daemon{lab.Agent, lab.Vswitchd, lab.OVSDB} {
		if err := l.Kill(testContext(t), n.Name, d); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(n.OVSRunDir, "conf.db")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ovsdb-tool", "create", file, "/usr/share/openvswitch/vswitch.ovsschema").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, d := range []lab.Daemon{lab.OVSDB, lab.Vswitchd} {
		if err := l.Start(testContext(t), n.Name, d); err != nil {
			t.Fatal(err)
		}
	}
	restarted(t, l, n, lab.Agent)
}
