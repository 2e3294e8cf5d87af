package scenarios

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/ovs/rtnl"
	"github.com/sluice-cni/sluice/test/lab"
)

// TestEveryVerbInEveryVersion: through libcni as a runtime uses it, with the real
// reference plugins behind ours, and before it.
func TestEveryVerbInEveryVersion(t *testing.T) {
	for _, families := range []lab.Families{lab.IPv4, lab.IPv6, lab.Dual} {
		t.Run(string(families), func(t *testing.T) { everyVersion(t, families) })
	}
}

func everyVersion(t *testing.T, families lab.Families) {
	l := up(t, lab.Options{Nodes: 1, Families: families, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	known(t, n, "apiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: cart, annotations: {kubernetes.io/ingress-bandwidth: 50M, kubernetes.io/egress-bandwidth: 50M}}\n")
	for i, version := range wire.Versions() {
		for _, later := range []bool{false, true} {
			position := map[bool]string{false: "first", true: "later"}[later]
			t.Run(version+" "+position, func(t *testing.T) {
				var plugins []map[string]any
				if later {
					plugins = append(plugins, map[string]any{"type": "loopback"})
				}
				plugins = append(plugins,
					map[string]any{"type": "sluice", "bandwidth": false}, // the bandwidth plugin's matter, the Pod's annotations too
					map[string]any{"type": "bandwidth", "capabilities": map[string]any{"bandwidth": true}},
					map[string]any{"type": "portmap", "backend": "nftables", "capabilities": map[string]any{"portMappings": true}},
					map[string]any{"type": "tuning", "sysctl": map[string]any{"net.ipv4.conf.IFNAME.arp_filter": "1"}})
				if version != "0.3.1" { // firewall's first is 0.4.0
					plugins = append(plugins, map[string]any{"type": "firewall", "backend": "iptables"})
				}
				r := newRuntime(t, n, fmt.Sprintf("net%d%s", i, position), version, plugins...)
				c := &libcni.RuntimeConf{
					ContainerID: fmt.Sprintf("matrix%d%s", i, position), NetNS: ovstest.NewNamespace(t).Path, IfName: "eth0",
					Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", "cart"}},
					CapabilityArgs: map[string]any{
						"portMappings": []map[string]any{{"hostPort": 18080 + i, "containerPort": 80, "protocol": "tcp"}},
						"bandwidth":    map[string]any{"ingressRate": 50000000, "ingressBurst": 5000000, "egressRate": 50000000, "egressBurst": 5000000},
					},
				}
				everyVerb(t, l, r, c, later)
			})
		}
	}
	nothingLeft(t, l, n)
}

func everyVerb(t *testing.T, l *lab.Lab, r runtimeOf, c *libcni.RuntimeConf, later bool) {
	ctx := testContext(t)
	version := r.list.CNIVersion
	var info interface{ SupportedVersions() []string }
	err := r.do(func() (err error) { info, err = r.cni.GetVersionInfo(ctx, "sluice"); return err })
	if err != nil || strings.Join(info.SupportedVersions(), " ") != strings.Join(wire.Versions(), " ") {
		t.Errorf("VERSION: %v, %v", info, err)
	}
	if err := r.do(func() error { return r.cni.GetStatusNetworkList(ctx, r.list) }); err != nil {
		t.Errorf("STATUS: %v", err)
	}

	var added types.Result
	if err := r.do(func() (err error) { added, err = r.cni.AddNetworkList(ctx, r.list, c); return err }); err != nil {
		t.Fatalf("ADD: %v", err)
	}
	defer func() { // also where the test fails half way
		if err := r.del(ctx, c); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}()
	if added.Version() != version {
		t.Errorf("the result is of version %s", added.Version())
	}
	inResult(t, added, c, later, len(gatewaysOf(t, r.node)))
	pings(t, l, r.node, c.NetNS)
	portmapLeads(t, l, r.node, c)

	if version != "0.3.1" {
		if err := r.check(ctx, c); err != nil {
			t.Errorf("CHECK: %v", err)
		}
		spoilAndCheck(t, r, c)
	}
	// GC with this one listed leaves it.
	gc := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: c.ContainerID, IfName: c.IfName}}}
	if err := r.do(func() error { return r.cni.GCNetworkList(ctx, r.list, gc) }); err != nil {
		t.Errorf("GC: %v", err)
	}
	pings(t, l, r.node, c.NetNS)
	for range 2 {
		if err := r.del(ctx, c); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
	eventually(t, "the cable is gone", func() error {
		if left := trace(t, l, r.node); left != "" {
			return errors.New(left)
		}
		return nil
	})
}

// inResult looks at what the last plugin of the list passed on of ours.
// Of each family there is one address and one route.
func inResult(t *testing.T, added types.Result, c *libcni.RuntimeConf, later bool, families int) {
	t.Helper()
	r, err := types100.NewResultFromResult(added)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(added)
	own := -1
	for i, in := range r.Interfaces {
		if in.Name == c.IfName && in.Sandbox == c.NetNS {
			own = i
		}
		if in.Name == c.IfName && (in.Mac == "" || added.Version() == "1.1.0" && in.Mtu == 0) {
			t.Errorf("interface without MAC or MTU: %s", text)
		}
	}
	addresses := 0
	for _, ip := range r.IPs {
		if ip.Interface != nil && *ip.Interface == own {
			addresses++
		}
	}
	hasLo := len(r.Interfaces) > 0 && r.Interfaces[0].Name == "lo"
	if own < 1 || addresses != families || len(r.Routes) != families || hasLo != later {
		t.Errorf("the result is %s", text)
	}
}

// portmapLeads shows that the portmap plugin behind ours leads a port of the node's to the pod, by each family.
func portmapLeads(t *testing.T, l *lab.Lab, n lab.NodeListing, c *libcni.RuntimeConf) {
	t.Helper()
	mapping := c.CapabilityArgs["portMappings"].([]map[string]any)[0]
	var server net.Listener
	err := netns.Do(c.NetNS, func() (err error) {
		server, err = net.Listen("tcp", fmt.Sprintf(":%d", mapping["containerPort"]))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, gateway := range gatewaysOf(t, n) {
		address := node4
		if strings.Contains(gateway, ":") {
			address = node6
		}
		var conn net.Conn
		err := netns.Do(outsideOf(t, l).Netns, func() (err error) {
			conn, err = net.DialTimeout("tcp", net.JoinHostPort(address, fmt.Sprint(mapping["hostPort"])), bound)
			return err
		})
		if err != nil {
			t.Errorf("outside by portmap: %v", err)
			continue
		}
		conn.Close()
	}
}

// pings shows that the pod and its node reach one another, by each of the node's families.
func pings(t *testing.T, l *lab.Lab, n lab.NodeListing, sandbox string) {
	t.Helper()
	for _, gateway := range gatewaysOf(t, n) {
		pingsAddress(t, l, n, sandbox, gateway)
	}
}

func pingsAddress(t *testing.T, l *lab.Lab, n lab.NodeListing, sandbox, address string) {
	t.Helper()
	out, err := l.Exec(testContext(t), "node/"+n.Name, "nsenter", "--net="+sandbox, "ping", "-c1", "-W2", address)
	if err != nil {
		t.Errorf("the pod does not reach %s: %v: %s", address, err, out)
		for where, argv := range map[string][]string{
			"the pod's neighbours": {"nsenter", "--net=" + sandbox, "ip", "neigh"}, "the node's": {"ip", "neigh"},
			"cached flows": {"ovs-appctl", "dpctl/dump-flows"},
		} {
			text, err := l.Exec(testContext(t), "node/"+n.Name, argv...)
			t.Logf("%s (%v):\n%s", where, err, text)
		}
	}
}

// spoilAndCheck changes one thing after another: CHECK names each, and is content again
// when it is put right.
func spoilAndCheck(t *testing.T, r runtimeOf, c *libcni.RuntimeConf) {
	t.Helper()
	in := func(f func(eth0 netlink.Link) error) func() error {
		return func() error {
			return netns.Do(c.NetNS, func() error {
				eth0, err := netlink.LinkByName("eth0")
				if err != nil {
					return err
				}
				return f(eth0)
			})
		}
	}
	var address netlink.Addr
	family, foreign := netlink.FAMILY_V4, "10.77.0.1/32"
	if gateway := gatewaysOf(t, r.node); strings.Contains(gateway[len(gateway)-1], ":") {
		family, foreign = netlink.FAMILY_V6, "fd77::1/128"
	}
	for _, s := range []struct {
		what, says   string
		spoil, right func() error
	}{
		{"MTU", "the MTU of interface eth0", in(func(e netlink.Link) error { return netlink.LinkSetMTU(e, 1300) }), in(func(e netlink.Link) error { return netlink.LinkSetMTU(e, mtuOf(t, r.node)) })},
		{
			"address", "the addresses of interface eth0",
			in(func(e netlink.Link) error {
				list, err := rtnl.Addrs(rtnl.Here, e, family)
				if err != nil || len(list) == 0 {
					return fmt.Errorf("%v, %w", list, err)
				}
				address = list[0] // IPv6's link-local one comes last
				other := netlink.Addr{IPNet: mustIPNet(foreign)}
				return errors.Join(netlink.AddrAdd(e, &other), netlink.AddrDel(e, &address))
			}),
			in(func(e netlink.Link) error {
				other := netlink.Addr{IPNet: mustIPNet(foreign)}
				return errors.Join(netlink.AddrAdd(e, &netlink.Addr{IPNet: address.IPNet}), netlink.AddrDel(e, &other))
			}),
		},
	} {
		if s.what == "MTU" && r.list.CNIVersion != "1.1.0" {
			continue // no result before has one
		}
		if err := s.spoil(); err != nil {
			t.Fatalf("%s: %v", s.what, err)
		}
		var e *types.Error
		if err := r.check(testContext(t), c); !errors.As(err, &e) || e.Code != 100 || !strings.Contains(e.Msg, s.says) {
			t.Errorf("CHECK with another %s: %v", s.what, err)
		}
		if err := s.right(); err != nil {
			t.Fatalf("%s: %v", s.what, err)
		}
		if err := r.check(testContext(t), c); err != nil {
			t.Errorf("CHECK after the %s is right again: %v", s.what, err)
		}
	}
}

// TestCHECKNamesTheFirstDifference, by the executable alone.
func TestCHECKNamesTheFirstDifference(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	r := newRuntime(t, n, "sluice", "1.1.0", map[string]any{"type": "sluice"})
	c := &libcni.RuntimeConf{ContainerID: "c1", NetNS: ns, IfName: "eth0"}
	ctx := testContext(t)
	check := func(says string) {
		t.Helper()
		var e *types.Error
		err := r.check(ctx, c)
		if says == "" && err != nil || says != "" && (!errors.As(err, &e) || !strings.Contains(e.Error(), says)) {
			t.Errorf("CHECK: %v, want %q", err, says)
		}
	}
	add := func() {
		t.Helper()
		if err := r.do(func() error { _, err := r.cni.AddNetworkList(ctx, r.list, c); return err }); err != nil {
			t.Fatal(err)
		}
	}
	inside := func(f func(netlink.Link) error) {
		t.Helper()
		err := netns.Do(ns, func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return f(eth0)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	add()
	check("")
	inside(func(e netlink.Link) error { return netlink.LinkSetHardwareAddr(e, mustMAC("02:00:00:00:00:07")) })
	check("the MAC of interface eth0")
	if err := r.del(ctx, c); err != nil {
		t.Fatal(err)
	}
	add()
	inside(func(e netlink.Link) error {
		return netlink.RouteDel(&netlink.Route{LinkIndex: e.Attrs().Index, Dst: mustIPNet("0.0.0.0/0")})
	})
	check("the routes by interface eth0: expected 0.0.0.0/0 via 169.254.0.1")
	inside(netlink.LinkSetDown)
	check("interface eth0: expected it up")
	inside(netlink.LinkDel)
	for there := true; there && !t.Failed(); { // also when the agent has freed the lease
		_, there = podsOf(t, n)[c.ContainerID]
		check("link slc")
	}
	if err := r.del(ctx, c); err != nil {
		t.Fatal(err)
	}
}

// TestCHECKAfterSomebodyTookFlowsOut: the agent has put them back, within milliseconds, so
// that CHECK finds them.
func TestCHECKAfterSomebodyTookFlowsOut(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n, ns := node(t, l, "n1"), ovstest.NewNamespace(t).Path
	a := cni(t, n, call{verb: "ADD", container: "c1", netns: ns})
	if a.failed {
		t.Fatal(a.text)
	}
	conf := strings.TrimSuffix(fmt.Sprintf(goodConf, n.CNISocket), "}") + `,"prevResult":` + a.text + "}"
	if c := cni(t, n, call{verb: "CHECK", container: "c1", netns: ns, conf: conf}); c.failed {
		t.Fatal(c.text)
	}
	ofctl(t, l, "node/n1", "del-flows", "unix:"+n.OVSRunDir+"/br-sluice.mgmt", "table=1,in_port=258")
	eventually(t, "the agent has put it back", func() error {
		if c := cni(t, n, call{verb: "CHECK", container: "c1", netns: ns, conf: conf}); c.failed {
			return errors.New(c.text)
		}
		return nil
	})
	if c := cni(t, n, call{verb: "CHECK", container: "c1", netns: ns}); !c.failed || c.Code != 7 || !strings.Contains(c.Msg, "prevResult") {
		t.Errorf("without a prevResult: %s", c.text)
	}
	if d := cni(t, n, call{verb: "DEL", container: "c1", netns: ns}); d.failed {
		t.Error(d.text)
	}
	if c := cni(t, n, call{verb: "CHECK", container: "c1", netns: ns, conf: conf}); !c.failed || c.Code != 100 || !strings.Contains(c.Msg, "the lease") {
		t.Errorf("after DEL: %s", c.text)
	}
}
