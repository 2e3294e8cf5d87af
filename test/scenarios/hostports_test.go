package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// askBound is how long a client waits for an answer.
var askBound = slow.Bound(2 * time.Second)

// ask asks from a place what answers at an address and port.
func ask(l *lab.Lab, place, protocol, address string, port uint16) (answer string, err error) {
	end, err := lab.ParseEndpoint(place)
	if err != nil {
		return "", err
	}
	spot, err := l.Spot(end)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), askBound)
	defer cancel()
	err = spot.Do(func() (err error) {
		answer, err = lab.Try(ctx, protocol, netip.AddrPortFrom(netip.MustParseAddr(address), port))
		return err
	})
	return answer, err
}

// answers waits until it is this one that answers.
func answers(t *testing.T, l *lab.Lab, place, protocol, address string, port uint16, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is answered by %s at %s port %d/%s", place, want, address, port, protocol), func() error {
		got, err := ask(l, place, protocol, address, port)
		if err == nil && got != want {
			err = fmt.Errorf("answered by %q", got)
		}
		return err
	})
}

// unanswered tells that nobody answers there. Several may be asked at the same time: silence lasts.
func unanswered(t *testing.T, l *lab.Lab, place, protocol, address string, port uint16) {
	t.Helper()
	if got, err := ask(l, place, protocol, address, port); err == nil {
		t.Errorf("%s: %q answers at %s port %d/%s", place, got, address, port, protocol)
	}
}

// The addresses of the node on which the pod is, by family. Of the lab's nodes n1 has these.
const (
	node4, node6         = "10.9.0.1", "fd09::1"
	loopback4, loopback6 = "127.0.0.1", "::1"
)

// webOnHost is a pod with host ports of every kind, on a node.
const webOnHost = `
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default, labels: {app: web}}
spec:
  nodeName: %s
  containers:
  - name: c
    ports:
    - {containerPort: 80, hostPort: 7000}
    - {containerPort: 80, hostPort: 7000, protocol: UDP}
    - {containerPort: 80, hostPort: 7000, protocol: SCTP}
    - {containerPort: 81, hostPort: 7001, hostIP: 10.9.0.1}
    - {containerPort: 81, hostPort: 7001, protocol: UDP, hostIP: 10.9.0.1}
    - {containerPort: 82, hostPort: 7001, hostIP: "fd09::1"}
    - {containerPort: 82, hostPort: 7001, protocol: UDP, hostIP: "fd09::1"}
    - {containerPort: 81, hostPort: 7001, protocol: SCTP, hostIP: 10.9.0.1}
    - {containerPort: 82, hostPort: 7001, protocol: SCTP, hostIP: "fd09::1"}
    - {containerPort: 83, hostPort: 7003, hostIP: 127.0.0.1}
    - {containerPort: 83, hostPort: 7003, hostIP: "::1"}
    - {containerPort: 84, hostPort: 7004, hostIP: 0.0.0.0, protocol: UDP}
`

const beside = `
---
apiVersion: v1
kind: Pod
metadata: {name: a1, namespace: default, labels: {on: n1}}
spec: {nodeName: n1, containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a2, namespace: default, labels: {on: n2}}
spec: {nodeName: n2, containers: [{name: c}]}
`

// hostPortLab is a lab of both families, of which these are the objects.
func hostPortLab(t *testing.T, text string) *lab.Lab {
	t.Helper()
	objects, err := lab.ParseObjects("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return up(t, lab.Options{Families: lab.Dual, Underlay: lab.Dual, Objects: objects})
}

// hostPortProtocols are those that clients can speak here.
func hostPortProtocols() []string {
	if lab.HasSCTP() {
		return []string{"tcp", "udp", "sctp"}
	}
	return []string{"tcp", "udp"}
}

// sctpIsLed: also where no client speaks SCTP, its ports are in the host's rules and in the switches of
// both nodes.
func sctpIsLed(t *testing.T, l *lab.Lab) {
	t.Helper()
	n := node(t, l, "n1")
	var at []string
	for _, h := range hostPortsOn(t, n) {
		if h.Protocol == state.SCTP {
			at = append(at, h.OnNode())
		}
	}
	slices.Sort(at)
	if want := []string{"10.9.0.1:7001/SCTP", "7000/SCTP", "7000/SCTP", "[fd09::1]:7001/SCTP"}; !slices.Equal(at, want) {
		t.Errorf("the host leads %v, want %v", at, want)
	}
	for _, name := range []string{"n1", "n2"} {
		eventually(t, "the switch of "+name+" leads them", func() error {
			led := 0
			for _, f := range flowsOf(t, node(t, l, name)) {
				if f.Owner == "pod default/web" && f.Table == int(flows.Service) && strings.Contains(f.Text, "sctp") {
					led++
				}
			}
			if led != 6 { // 7000 by the node's address and the gateway's of both families, 7001 by its own
				return fmt.Errorf("by %d flows", led)
			}
			return nil
		})
	}
}

// TestHostPortsInEveryCell of client place, protocol, family and hostIP; then the pod is on
// the other node, and what its ports were here is nobody's.
func TestHostPortsInEveryCell(t *testing.T) {
	l := hostPortLab(t, fmt.Sprintf(webOnHost, "web", "n1")+beside)
	places := []string{"outside", "node/n2", "node/n1", "a1", "a2", "web"}
	type cell struct {
		protocol, address string
		port              uint16
		// only is the one place where it is served, empty if it is everywhere.
		only string
		not  bool
	}
	var cells []cell
	for _, protocol := range hostPortProtocols() {
		cells = append(cells,
			cell{protocol, node4, 7000, "", false}, cell{protocol, node6, 7000, "", false},
			cell{protocol, loopback4, 7000, "node/n1", false}, cell{protocol, loopback6, 7000, "node/n1", false},
			cell{protocol, node4, 7001, "", false}, cell{protocol, node6, 7001, "", false},
			cell{protocol, loopback4, 7001, "", true}, cell{protocol, loopback6, 7001, "", true},
			cell{protocol, node4, 7002, "", true})
	}
	cells = append(cells,
		cell{"tcp", loopback4, 7003, "node/n1", false}, cell{"tcp", node4, 7003, "", true},
		cell{"tcp", loopback6, 7003, "node/n1", false}, cell{"tcp", node6, 7003, "", true},
		cell{"udp", node4, 7004, "", false}, cell{"udp", node6, 7004, "", true}, cell{"tcp", node4, 7004, "", true})
	sctpIsLed(t, l)
	var silence sync.WaitGroup
	for _, c := range cells {
		for _, place := range places {
			if c.not || c.only != "" && c.only != place {
				silence.Go(func() { unanswered(t, l, place, c.protocol, c.address, c.port) })
			} else {
				answers(t, l, place, c.protocol, c.address, c.port, "default/web")
			}
		}
	}
	silence.Wait()

	web, err := l.Find("pod/default/web")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Delete(testContext(t), []lab.Key{web}); err != nil {
		t.Fatal(err)
	}
	nothingOfHostPorts(t, l, node(t, l, "n1"))
	moved := strings.NewReplacer("10.9.0.1", "10.9.0.2", "fd09::1", "fd09::2").Replace(fmt.Sprintf(webOnHost, "web", "n2"))
	if err := l.ApplyYAML(testContext(t), moved); err != nil {
		t.Fatal(err)
	}
	for _, c := range cells {
		for _, place := range places {
			if place != "node/n2" || c.address != loopback4 && c.address != loopback6 {
				silence.Go(func() { unanswered(t, l, place, c.protocol, c.address, c.port) })
			}
		}
	}
	silence.Wait()
	for _, place := range places {
		for _, protocol := range hostPortProtocols() {
			for _, address := range []string{"10.9.0.2", "fd09::2"} {
				answers(t, l, place, protocol, address, 7000, "default/web")
				answers(t, l, place, protocol, address, 7001, "default/web")
			}
		}
	}
}

// hostPortsOn are those that a node's rules lead to pods.
func hostPortsOn(t *testing.T, n lab.NodeListing) (ports []render.HostPort) {
	t.Helper()
	err := netns.Do(n.Netns, func() (err error) { ports, err = host.InstalledHostPorts(testContext(t)); return err })
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

// nothingOfHostPorts waits until no element, row or setting is left of any.
func nothingOfHostPorts(t *testing.T, l *lab.Lab, n lab.NodeListing) {
	t.Helper()
	eventually(t, "nothing is left of host ports", func() error {
		if ports := hostPortsOn(t, n); len(ports) > 0 {
			return fmt.Errorf("%v", ports)
		}
		if rows := vsctlOn(t, l, n, "--columns=external_ids", "list", "Port"); strings.Contains(rows, "host-ports") {
			return errors.New(rows)
		}
		if localnet := on(t, l, "node/"+n.Name, "cat", "/proc/sys/net/ipv4/conf/sluice0/route_localnet"); localnet != "0\n" {
			return errors.New("route_localnet is still " + localnet)
		}
		if routes := on(t, l, "node/"+n.Name, "ip", "-6", "route", "show", "table", "local", "dev", "sluice0", "::1"); routes != "" {
			return errors.New("there is still " + routes)
		}
		return nil
	})
}

// whyByHostPort: `sluicectl why` follows a host port of n1 to default/web, says what packets show, and
// the switch of the client's node, or of the pod's, agrees.
func whyByHostPort(t *testing.T, l *lab.Lab, from, address string, allowed bool) {
	t.Helper()
	asked := map[bool]string{true: "node/n2", false: "node/n1"}[from == "a2"]
	if from == "outside" {
		from = addressOf(t, outsideOf(t, l).Addresses, netip.MustParseAddr(address).Is4()).String()
	}
	text, status := ctl(t, l, asked, "why", "-o", "json", from, netip.AddrPortFrom(netip.MustParseAddr(address), 7000).String()+"/tcp")
	var answers []whyAnswer
	if err := json.Unmarshal([]byte(text), &answers); err != nil || status != 0 || len(answers) != 1 {
		t.Fatalf("why %s %s on %s: status %d, %v: %s", from, address, asked, status, err, text)
	}
	if a := answers[0]; a.HostPort.Pod != "default/web" || a.Verdict.Allowed != allowed || len(a.Switch.Packets) < 3 {
		t.Errorf("why %s %s on %s, where packets are let in: %v: %s", from, address, asked, allowed, text)
	}
}

// TestPoliciesJudgeWhoComesByAHostPort: the outside client by its own address, the other node by
// its, pods by who they are, and the pod's own node and itself are always let in.
func TestPoliciesJudgeWhoComesByAHostPort(t *testing.T) {
	l := hostPortLab(t, fmt.Sprintf(webOnHost, "web", "n1")+beside)
	out := outsideOf(t, l).Addresses
	who := func(peer string) string {
		return fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: who, namespace: default}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [%s]}]}
`, peer)
	}
	block := func(a netip.Addr) string { return who(fmt.Sprintf(`{ipBlock: {cidr: "%s/%d"}}`, a, a.BitLen())) }
	pods := func(node string) string { return who(fmt.Sprintf(`{podSelector: {matchLabels: {on: %s}}}`, node)) }
	always := []string{"node/n1", "web"}
	places := []string{"outside", "node/n2", "node/n1", "a1", "a2", "web"}
	for _, c := range []struct {
		allowed, policy string
		addresses       []string
	}{
		{"outside", block(out[0]), []string{node4}},
		{"outside", block(out[1]), []string{node6}},
		{"node/n2", block(netip.MustParseAddr("10.9.0.2")), []string{node4}},
		{"node/n2", block(netip.MustParseAddr("fd09::2")), []string{node6}},
		{"a1", pods("n1"), []string{node4, node6}},
		{"a2", pods("n2"), []string{node4, node6}},
	} {
		if err := l.ApplyYAML(testContext(t), c.policy); err != nil {
			t.Fatal(err)
		}
		var silence sync.WaitGroup
		for _, address := range c.addresses {
			for _, place := range places {
				allowed := place == c.allowed || slices.Contains(always, place)
				whyByHostPort(t, l, place, address, allowed)
				if allowed {
					answers(t, l, place, "tcp", address, 7000, "default/web")
					answers(t, l, place, "udp", address, 7000, "default/web")
				} else {
					silence.Go(func() { unanswered(t, l, place, "udp", address, 7000) })
				}
			}
		}
		silence.Wait()
	}
}

// withHostPorts is the configuration with which a runtime asks for host ports.
func withHostPorts(n lab.NodeListing, mappings string) string {
	return confWith(n, `"capabilities":{"portMappings":true},"runtimeConfig":{"portMappings":[`+mappings+`]}`)
}

// TestOneHostPortForTwo: who lives keeps it, and the other is told whose it is; who is on its way
// out loses it to who comes.
func TestOneHostPortForTwo(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	const pods = "apiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: cart%s}\n---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: till}\n"
	known(t, n, fmt.Sprintf(pods, ""))
	conf := withHostPorts(n, `{"hostPort":7000,"containerPort":80,"protocol":"tcp"}`)
	first := call{container: "first", netns: ovstest.NewNamespace(t).Path, args: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart", conf: conf}
	second := call{container: "second", netns: ovstest.NewNamespace(t).Path, args: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=till",
		conf: withHostPorts(n, `{"hostPort":7000,"containerPort":81,"protocol":"tcp","hostIP":"10.9.0.1"}`)}
	firstAddress := added(t, n, first)
	refusedFor(t, n, second, "host port 10.9.0.1:7000/TCP is held by pod shop/cart; it is given as soon as that goes")
	// Another sandbox of the same pod is the pod.
	again := first
	again.container, again.netns = "again", ovstest.NewNamespace(t).Path
	againAddress := added(t, n, again)
	leads := func(to string) {
		t.Helper()
		eventually(t, "it leads to "+to, func() error {
			if ports := hostPortsOn(t, n); len(ports) != 1 || ports[0].To.String() != to {
				return fmt.Errorf("%v", ports)
			}
			return nil
		})
	}
	leads(againAddress + ":80")
	deleted(t, n, again)
	leads(firstAddress + ":80")

	known(t, n, fmt.Sprintf(pods, `, deletionTimestamp: "2026-01-01T00:00:00Z"`))
	secondAddress := added(t, n, second)
	leads(secondAddress + ":81")
	if p := podsOf(t, n)["second"]; len(p.HostPorts) != 1 || p.HostPorts[0] != "10.9.0.1:7000:81/TCP" {
		t.Errorf("sluicectl pods has %v", p.HostPorts)
	}
	if status := statusOf(t, n); !strings.Contains(fmt.Sprint(status.Problems), "host port 7000/TCP: shop/cart loses it to shop/till") {
		t.Errorf("problems: %v", status.Problems)
	}
	// The other has it when the holder has gone.
	deleted(t, n, second)
	leads(firstAddress + ":80")
	deleted(t, n, first)
	nothingOfHostPorts(t, l, n)
	nothingLeft(t, l, n)
}

// TestHostPortsAreKeptAndCompared: by the row over a crash, by the cable when the database is lost,
// also where the cable has no room and the Pod knows; and CHECK names what is not as promised.
func TestHostPortsAreKeptAndCompared(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	const many = 12
	var asked, inPod []string
	for i := range many {
		asked = append(asked, fmt.Sprintf(`{"hostPort":%d,"containerPort":80,"protocol":"tcp"}`, 7000+i))
		inPod = append(inPod, fmt.Sprintf(`{hostPort: %d, containerPort: 80}`, 7000+i))
	}
	known(t, n, "apiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: cart}\nspec: {containers: [{name: c, ports: ["+strings.Join(inPod, ", ")+"]}]}\n")
	few := call{container: "few", netns: ovstest.NewNamespace(t).Path, conf: withHostPorts(n, `{"hostPort":6999,"containerPort":80,"protocol":"udp","hostIP":"10.9.0.1"}`)}
	lots := call{container: "lots", netns: ovstest.NewNamespace(t).Path, args: "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart", conf: withHostPorts(n, strings.Join(asked, ","))}
	few.verb = "ADD"
	result := cni(t, n, few)
	if result.failed {
		t.Fatal(result.text)
	}
	added(t, n, lots)
	rules := func() string { return on(t, l, "node/n1", "nft", "list", "table", "inet", "sluice") }
	before := rules()
	if ports := hostPortsOn(t, n); len(ports) != many+1 {
		t.Errorf("not in place when ADD has answered: %v", ports)
	}
	same := func(when string) {
		t.Helper()
		eventually(t, when, func() error {
			if now := rules(); now != before {
				return errors.New(now)
			}
			return nil
		})
	}
	if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
		t.Fatal(err)
	}
	restarted(t, l, n, lab.Agent)
	same("after a crash")
	loseDatabase(t, l, n)
	same("after the database was lost")

	check := call{verb: "CHECK", container: few.container, netns: few.netns, conf: strings.TrimSuffix(few.conf, "}") + `,"prevResult":` + result.text + "}"}
	checked := func(says string) {
		t.Helper()
		eventually(t, "CHECK says "+says, func() error {
			if got := cni(t, n, check); got.failed != (says != "") || !strings.Contains(got.Msg, says) {
				return errors.New(got.text)
			}
			return nil
		})
	}
	checked("")
	goOn := stopped(t, node(t, l, "n1").PIDs.Agent) // it would put it right at once
	on(t, l, "node/n1", "nft", "delete", "element", "inet", "sluice", "host_ports_at4", "{ 10.9.0.1 . udp . 6999 }")
	goOn()
	same("what somebody else took away is back")
	check.conf = strings.Replace(check.conf, "6999", "6998", 1)
	checked("the host ports of eth0: expected [10.9.0.1:6998:80/UDP], found [10.9.0.1:6999:80/UDP]")

	for name, c := range map[string]struct{ mapping, says string }{
		"the tunnels' port":  {`{"hostPort":6081,"containerPort":80,"protocol":"udp"}`, "runtimeConfig.portMappings: expected another host port than the tunnels', found 6081:80/UDP"},
		"a hostIP of IPv6":   {`{"hostPort":70,"containerPort":80,"hostIP":"fd09::1"}`, "runtimeConfig.portMappings: expected a hostIP of a family of the pod's addresses"},
		"a port that is not": {`{"hostPort":70000,"containerPort":80}`, "runtimeConfig.portMappings[0].hostPort: expected a port, 1 to 65535, found 70000"},
	} {
		if a := cni(t, n, call{verb: "ADD", container: "odd", netns: few.netns, ifname: "odd", conf: withHostPorts(n, c.mapping)}); !a.failed || a.Code != 7 || !strings.Contains(a.Msg, c.says) {
			t.Errorf("%s: %s", name, a.text)
		}
	}
	text, err := json.Marshal(podsOf(t, n))
	if err != nil || strings.Contains(string(text), `"odd"`) {
		t.Errorf("a refused one is left: %s, %v", text, err)
	}
	deleted(t, n, few)
	deleted(t, n, lots)
	nothingOfHostPorts(t, l, n)
	nothingLeft(t, l, n)
}
