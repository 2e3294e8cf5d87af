package scenarios

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// confWith is a node's good configuration with more members.
func confWith(n lab.NodeListing, more string) string {
	return strings.TrimSuffix(fmt.Sprintf(goodConf, n.CNISocket), "}") + "," + more + "}"
}

// added is an ADD that must succeed; it returns the first address.
func added(t *testing.T, n lab.NodeListing, c call) string {
	t.Helper()
	return addedAll(t, n, c)[0]
}

// addedAll is added; it returns an address of each of the node's families.
func addedAll(t *testing.T, n lab.NodeListing, c call) []string {
	t.Helper()
	c.verb = "ADD"
	a := cni(t, n, c)
	if a.failed || len(a.IPs) == 0 {
		t.Fatalf("ADD %s: %s", c.container, a.text)
	}
	return a.addresses()
}

// addresses are those of a result, without their lengths.
func (a cniAnswer) addresses() []string {
	var out []string
	for _, ip := range a.IPs {
		address, _, _ := strings.Cut(ip.Address, "/")
		out = append(out, address)
	}
	return out
}

// deleted is a DEL that must succeed.
func deleted(t *testing.T, n lab.NodeListing, c call) {
	t.Helper()
	c.verb = "DEL"
	if d := cni(t, n, c); d.failed {
		t.Fatalf("DEL %s: %s", c.container, d.text)
	}
}

// written puts objects into the node's directory, in the place of those that it put there before.
func written(t *testing.T, n lab.NodeListing, text string) {
	t.Helper()
	tmp := filepath.Join(n.ManifestsDir, ".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(n.ManifestsDir, "zz.yaml")); err != nil {
		t.Fatal(err)
	}
}

// known puts objects into the node's directory, and returns when its agent has them.
func known(t *testing.T, n lab.NodeListing, text string) {
	t.Helper()
	before := statusOf(t, n).Input.Installed
	written(t, n, text)
	eventually(t, "the objects are in force", func() error {
		s := statusOf(t, n)
		if s.Input.Installed == before || s.Input.Seen != s.Input.Installed {
			return fmt.Errorf("seen %s, installed %s, %v", s.Input.Seen, s.Input.Installed, s.Input.Errors)
		}
		return nil
	})
}

// restarted starts a daemon of the node again, and returns when pods can be plugged in.
func restarted(t *testing.T, l *lab.Lab, n lab.NodeListing, d lab.Daemon) {
	t.Helper()
	if err := l.Start(testContext(t), n.Name, d); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is ready", func() error {
		if a := cni(t, n, call{verb: "STATUS"}); a.failed {
			return errors.New(a.text)
		}
		return nil
	})
}

func TestAnAddressIsAskedFor(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	known(t, n, `
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: till, annotations: {sluice.dev/ips: 10.244.1.77, sluice.dev/mac: "02:00:00:00:00:77"}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: odd, annotations: {sluice.dev/ips: nonsense}}
`)
	ns := ovstest.NewNamespace(t).Path
	args := func(pod string) string { return "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" + pod }

	for name, c := range map[string]struct {
		call call
		want string
		mac  string
	}{
		"by runtimeConfig": {call{conf: confWith(n, `"capabilities":{"ips":true,"mac":true},"runtimeConfig":{"ips":["10.244.1.50/24"],"mac":"02:00:00:00:00:50"}`)}, "10.244.1.50", "02:00:00:00:00:50"},
		"by args":          {call{conf: confWith(n, `"args":{"cni":{"ips":["10.244.1.51"]}}`)}, "10.244.1.51", "0a:58:0a:f4:01:33"},
		"by CNI_ARGS":      {call{args: "IP=10.244.1.52;MAC=02:00:00:00:00:52"}, "10.244.1.52", "02:00:00:00:00:52"},
		"by annotation":    {call{args: args("till")}, "10.244.1.77", "02:00:00:00:00:77"},
		"the runtime's word before the annotation": {call{args: args("till") + ";IP=10.244.1.78"}, "10.244.1.78", "02:00:00:00:00:77"},
	} {
		t.Run(name, func(t *testing.T) {
			c.call.container, c.call.netns = "asks", ns
			if got := added(t, n, c.call); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if mac := macIn(t, ns); mac != c.mac {
				t.Errorf("the MAC is %s, want %s", mac, c.mac)
			}
			// Its MAC is what the spoof guard knows.
			pings(t, l, n, ns)
			deleted(t, n, c.call)
		})
	}

	nothingLeft(t, l, n) // a link's end is under way when DEL answers
	for name, c := range map[string]struct {
		call call
		code uint
		says string
	}{
		"the network's":     {call{args: "IP=10.244.1.0"}, 4, "CNI_ARGS: IP: 10.244.1.0 is the network's own address"},
		"the gateway's":     {call{args: "IP=10.244.1.1"}, 4, "the gateway's"},
		"the broadcast":     {call{args: "IP=10.244.1.255"}, 4, "broadcast"},
		"one outside":       {call{conf: confWith(n, `"runtimeConfig":{"ips":["10.9.9.9"]}`)}, 7, "runtimeConfig.ips: 10.9.9.9 is outside of this node's ranges: 10.244.1.0/24"},
		"no sense":          {call{args: args("odd")}, 7, "annotation sluice.dev/ips: expected an address"},
		"the router's MAC":  {call{args: "MAC=0a:58:a9:fe:00:01"}, 4, "the virtual router's"},
		"below rangeStart":  {call{conf: confWith(n, `"ranges":[{"subnet":"10.244.1.0/24","rangeStart":"10.244.1.100"}],"args":{"cni":{"ips":["10.244.1.99"]}}`)}, 7, "outside of what is given"},
		"by another's IPAM": {call{args: args("till"), conf: confWith(n, `"ipam":{"type":"static","addresses":[{"address":"10.244.1.9/24"}]}`)}, 4, "CNI_PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			c.call.verb, c.call.container, c.call.netns = "ADD", "asks", ns
			if a := cni(t, n, c.call); !a.failed || a.Code != c.code || !strings.Contains(a.Msg, c.says) {
				t.Errorf("code %d, want %d, saying %q: %s", a.Code, c.code, c.says, a.text)
			}
			if left := trace(t, l, n); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

func macIn(t *testing.T, sandbox string) (mac string) {
	t.Helper()
	err := netns.Do(sandbox, func() error {
		e, err := netlink.LinkByName("eth0")
		if err == nil {
			mac = e.Attrs().HardwareAddr.String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// TestAHeldAddressIsGivenOnlyAfterItsHolder: while the former holder lives, and while
// its row is all that is left of it; at once when it has gone.
func TestAHeldAddressIsGivenOnlyAfterItsHolder(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	first, second := ovstest.NewNamespace(t), ovstest.NewNamespace(t).Path
	holder := call{container: "holder", netns: first.Path, args: "IP=10.244.1.50;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart"}
	wants := call{verb: "ADD", container: "wants", netns: second, args: "IP=10.244.1.50"}
	refused := func(says string) {
		t.Helper()
		if a := cni(t, n, wants); !a.failed || a.Code != 11 || !strings.Contains(a.Msg, "10.244.1.50 is held by "+says) {
			t.Errorf("want a refusal by %q: %s", says, a.text)
		}
	}
	added(t, n, holder)
	refused("pod shop/cart")
	deleted(t, n, holder)
	// It rests, and there is nothing else that would do.
	if got := added(t, n, wants); got != "10.244.1.50" {
		t.Errorf("right after DEL: %s", got)
	}
	deleted(t, n, wants)

	// A holder that goes without DEL.
	added(t, n, holder)
	if err := netns.Delete(filepath.Base(first.Path)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the address of a container whose namespace has gone is free", func() error {
		a := cni(t, n, wants)
		if a.failed && (a.Code != 11 || !strings.Contains(a.Msg, "pod shop/cart")) {
			t.Fatal(a.text)
		}
		if a.failed {
			return errors.New(a.text)
		}
		return nil
	})
	deleted(t, n, call{container: "wants", netns: second})
	deleted(t, n, holder)
}

// TestFreedAddressesRest: oldest freed first, and one that rests only when nothing else
// is free; over a restart of the agent too.
func TestFreedAddressesRest(t *testing.T) {
	objects, err := lab.ParseObjects("test", []byte(`
apiVersion: v1
kind: Node
metadata: {name: small}
spec: {podCIDRs: [10.244.77.0/29]}
`))
	if err != nil {
		t.Fatal(err)
	}
	l := up(t, lab.Options{Nodes: 1, Objects: objects})
	n, ns := node(t, l, "small"), ovstest.NewNamespace(t).Path
	in := func(ifname string) call { return call{container: "c1", netns: ns, ifname: ifname} }
	var got []string
	next := func(ifname string) {
		t.Helper()
		got = append(got, strings.TrimPrefix(added(t, n, in(ifname)), "10.244.77."))
	}
	next("a")
	next("b")
	next("c")
	deleted(t, n, in("b"))
	// The time of freeing has seconds.
	stamp := freedAt(t, l, n, "10.244.77.3")
	eventually(t, "the clock's next second", func() error {
		deleted(t, n, in("a"))
		next("a")
		deleted(t, n, in("a"))
		if last := got[len(got)-1]; freedAt(t, l, n, "10.244.77."+last) == stamp {
			return errNotYet
		}
		return nil
	})
	if err := l.Kill(testContext(t), "small", lab.Agent); err != nil {
		t.Fatal(err)
	}
	restarted(t, l, n, lab.Agent)
	got = nil
	for _, ifname := range []string{"d", "e", "f", "g"} {
		next(ifname)
	}
	// 4 is c's. .3 was freed first of all.
	if len(got) != 4 || !strings.Contains(strings.Join(got, " "), "3") || strings.Contains(strings.Join(got, " "), "4") {
		t.Errorf("given are %v", got)
	}
	a := cni(t, n, call{verb: "ADD", container: "c1", netns: ns, ifname: "h"})
	if !a.failed || a.Code != 11 || !strings.Contains(a.Msg, "10.244.77.0/29: 5 for pods, 5 held") {
		t.Errorf("when all are held: %s", a.text)
	}
	for _, ifname := range []string{"c", "d", "e", "f", "g"} {
		deleted(t, n, in(ifname))
	}
}

// freedAt is when OVSDB says that the address was freed.
func freedAt(t *testing.T, l *lab.Lab, n lab.NodeListing, address string) string {
	t.Helper()
	out, err := l.Exec(testContext(t), "node/"+n.Name, "ovs-vsctl", "--db=unix:"+n.OVSRunDir+"/db.sock", "--if-exists",
		"get", "bridge", "br-sluice", `external_ids:"sluice-freed-`+address+`"`)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// withHostLocal is a configuration of the node whose addresses the real host-local gives; where the
// plugins are, and how many addresses it has given.
func withHostLocal(t *testing.T, n lab.NodeListing) (plugins, conf string, leases func() int) {
	t.Helper()
	plugins, err := referencePlugins()
	if err != nil {
		t.Fatal(err)
	}
	store := t.TempDir()
	conf = confWith(n, fmt.Sprintf(`"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.244.1.0/29","rangeStart":"10.244.1.3"}]]}`, store))
	return plugins, conf, func() int {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(store, "sluice", "10.*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
}

// TestOtherIPAMPlugins: the real host-local and static give the addresses, and get them back.
func TestOtherIPAMPlugins(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	plugins, hostLocal, leases := withHostLocal(t, n)
	c := call{container: "c1", netns: ns, conf: hostLocal, path: plugins}
	if got := added(t, n, c); got != "10.244.1.3" || leases() != 1 {
		t.Errorf("got %s, %d leases", got, leases())
	}
	pings(t, l, n, ns)
	// An ADD that fails gives the address back.
	bad := c
	bad.verb, bad.container, bad.ifname = "ADD", "c2", "lo"
	if a := cni(t, n, bad); !a.failed || leases() != 1 {
		t.Errorf("%d leases after: %s", leases(), a.text)
	}
	// One that the other plugin gives, and a pod of ours has.
	clash := call{verb: "ADD", container: "c3", netns: ns, ifname: "net1", path: plugins, conf: confWith(n, `"ipam":{"type":"static","addresses":[{"address":"10.244.1.3/24"}]}`)}
	if a := cni(t, n, clash); !a.failed || a.Code != 11 || !strings.Contains(a.Msg, "held by container c1") {
		t.Errorf("an address that is held: %s", a.text)
	}
	// GC, and DEL without the agent.
	gc := call{verb: "GC", path: plugins, conf: strings.TrimSuffix(hostLocal, "}") + `,"cni.dev/valid-attachments":[]}`}
	if a := cni(t, n, gc); a.failed || leases() != 0 {
		t.Errorf("GC: %d leases: %s", leases(), a.text)
	}
	added(t, n, c)
	if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	deleted(t, n, c)
	if leases() != 0 {
		t.Errorf("%d leases after a DEL without the agent", leases())
	}
	restarted(t, l, n, lab.Agent)
	static := call{container: "c4", netns: ns, path: plugins, conf: confWith(n, `"ipam":{"type":"static","addresses":[{"address":"10.244.1.9/24"}]}`)}
	if got := added(t, n, static); got != "10.244.1.9" {
		t.Errorf("static gave %s", got)
	}
	pings(t, l, n, ns)
	deleted(t, n, static)
	// Its own message is handed on.
	odd := call{verb: "ADD", container: "c5", netns: ns, path: plugins, conf: confWith(n, `"ipam":{"type":"host-local","ranges":[]}`)}
	if a := cni(t, n, odd); !a.failed || !strings.Contains(a.Msg, "IPAM plugin host-local: ") {
		t.Errorf("%s", a.text)
	}
	nothingLeft(t, l, n)
}
