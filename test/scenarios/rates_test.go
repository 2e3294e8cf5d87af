package scenarios

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/slow"
)

// transfer sends by TCP from one namespace to an address in another, and returns the bits a
// second that arrived once the burst was over.
func transfer(t *testing.T, from, to, address string) float64 {
	t.Helper()
	var l net.Listener
	err := netns.Do(to, func() (err error) { l, err = net.Listen("tcp", address+":0"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var c net.Conn
	err = netns.Do(from, func() (err error) {
		c, err = net.DialTimeout("tcp", l.Addr().String(), slow.Bound(5*time.Second))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}()
	defer func() { c.Close(); <-done }()
	read := func(d time.Duration) (bits float64) {
		end := time.Now().Add(d)
		_ = in.SetReadDeadline(end)
		buf := make([]byte, 64<<10)
		for {
			n, err := in.Read(buf)
			bits += float64(n) * 8
			if err != nil {
				if !errors.Is(err, io.EOF) && time.Now().Before(end) {
					t.Fatal(err)
				}
				return bits
			}
		}
	}
	read(time.Second)
	began := time.Now()
	bits := read(4 * time.Second)
	return bits / time.Since(began).Seconds()
}

// bandwidthOf are a configuration's rates, in bits a second.
func bandwidthOf(ingress, egress int) string {
	return fmt.Sprintf(`"bandwidth":{"ingressRate":%d,"egressRate":%d}`, ingress, egress)
}

// TestRatesHoldWithinATenth in both directions, wherever they come from.
func TestRatesHoldWithinATenth(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	known(t, n, `
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: till, annotations: {kubernetes.io/ingress-bandwidth: 10M, kubernetes.io/egress-bandwidth: 20M}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: odd, annotations: {kubernetes.io/egress-bandwidth: fast}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: small, annotations: {kubernetes.io/ingress-bandwidth: "10"}}
`)
	peer := ovstest.NewNamespace(t).Path
	peerAddress := added(t, n, call{container: "peer", netns: peer})
	args := func(pod string) string { return "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" + pod }
	for name, c := range map[string]call{
		"conf":          {conf: confWith(n, bandwidthOf(10_000_000, 20_000_000))},
		"runtimeConfig": {conf: confWith(n, `"capabilities":{"bandwidth":true},"runtimeConfig":{"bandwidth":{"ingressRate":10000000,"ingressBurst":4294967295,"egressRate":20000000,"egressBurst":4294967295}}`)},
		"annotations":   {args: args("till")},
	} {
		t.Run(name, func(t *testing.T) {
			c.container, c.netns = "limited", ovstest.NewNamespace(t).Path
			address := added(t, n, c)
			ingress := transfer(t, peer, c.netns, address) / 1e6
			egress := transfer(t, c.netns, peer, peerAddress) / 1e6
			t.Logf("measured: %s: to the pod %.2f of 10 Mbit/s, from it %.2f of 20", name, ingress, egress)
			if ingress < 9 || ingress > 11 || egress < 18 || egress > 22 {
				t.Errorf("to the pod %.2f Mbit/s, want 10; from it %.2f, want 20", ingress, egress)
			}
			if p := podsOf(t, n)["limited"]; p.IngressRate != 10_000_000 || p.EgressRate != 20_000_000 {
				t.Errorf("sluicectl pods has %+v", p)
			}
			deleted(t, n, c)
			if rows := qosRowsOn(t, l, n); rows != "" {
				t.Errorf("left after DEL: %s", rows)
			}
		})
	}
	for name, c := range map[string]struct {
		call call
		says string
	}{
		"no quantity":           {call{args: args("odd")}, "pod shop/odd: annotation kubernetes.io/egress-bandwidth: expected a quantity of bits a second, such as 10M, found \"fast\""},
		"too small a quantity":  {call{args: args("small")}, "pod shop/small: annotation kubernetes.io/ingress-bandwidth: expected bits a second, 1000 to 34359738360, found 10"},
		"a rate out of bounds":  {call{conf: confWith(n, bandwidthOf(1, 0))}, "bandwidth.ingressRate: expected bits a second, 1000 to 34359738360, found 1"},
		"a field of no meaning": {call{conf: confWith(n, `"bandwidth":{"rate":1}`)}, "bandwidth.rate: expected one of"},
	} {
		c.call.verb, c.call.container, c.call.netns = "ADD", "limited", ovstest.NewNamespace(t).Path
		if a := cni(t, n, c.call); !a.failed || a.Code != 7 || !strings.Contains(a.Msg, c.says) {
			t.Errorf("%s: %s", name, a.text)
		}
	}
	// Another plugin's matter.
	c := call{container: "limited", netns: ovstest.NewNamespace(t).Path, args: args("odd"), conf: confWith(n, `"bandwidth":false`)}
	added(t, n, c)
	if rows := qosRowsOn(t, l, n); rows != "" {
		t.Errorf("limited all the same: %s", rows)
	}
	deleted(t, n, c)
	deleted(t, n, call{container: "peer", netns: peer})
}

// qosRowsOn are OVSDB's rows of QoS.
func qosRowsOn(t *testing.T, l *lab.Lab, n lab.NodeListing) string {
	t.Helper()
	return vsctlOn(t, l, n, "--columns=external_ids", "list", "QoS") + vsctlOn(t, l, n, "--columns=external_ids", "list", "Queue")
}

// TestNothingOfQoSIsLeft after GC, after an agent that was killed in the middle, after
// somebody deleted the port; and what is lost with OVSDB is there again.
func TestNothingOfQoSIsLeft(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n := node(t, l, "n1")
	conf := confWith(n, bandwidthOf(10_000_000, 20_000_000))
	noRows := func(when string) {
		t.Helper()
		eventually(t, when, func() error {
			if rows := qosRowsOn(t, l, n); rows != "" {
				return errors.New(rows)
			}
			return nil
		})
	}
	twoRows := func() error {
		if rows := qosRowsOn(t, l, n); strings.Count(rows, "sluice-port") != 2 {
			return errors.New(rows)
		}
		return nil
	}
	c := call{container: "limited", netns: ovstest.NewNamespace(t).Path, conf: conf}
	added(t, n, c)
	if g := cni(t, n, call{verb: "GC", conf: strings.TrimSuffix(conf, "}") + `,"cni.dev/valid-attachments":[]}`}); g.failed {
		t.Error(g.text)
	}
	noRows("after GC")

	// Killed at whatever point of the ADDs: what is left belongs to ports that are there.
	for i := range 5 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			c := call{verb: "ADD", container: fmt.Sprintf("cut%d", i), netns: c.netns, ifname: fmt.Sprintf("cut%d", i), conf: conf}
			cni(t, n, c)
		}()
		time.Sleep(time.Duration(i*4) * time.Millisecond) // somewhere in it
		if err := l.Kill(testContext(t), "n1", lab.Agent); err != nil {
			t.Fatal(err)
		}
		<-done
		restarted(t, l, n, lab.Agent)
		deleted(t, n, call{container: fmt.Sprintf("cut%d", i), netns: c.netns, ifname: fmt.Sprintf("cut%d", i), conf: conf})
	}
	noRows("after a crash")

	a := cni(t, n, call{verb: "ADD", container: c.container, netns: c.netns, conf: conf})
	port := podsOf(t, n)["limited"].Port
	vsctlOn(t, l, n, "del-port", "br-sluice", port)
	eventually(t, "after its port was deleted the limit is there once", twoRows)
	check := call{verb: "CHECK", container: c.container, netns: c.netns, conf: strings.TrimSuffix(conf, "}") + `,"prevResult":` + a.text + "}"}
	eventually(t, "CHECK is content", func() error {
		if got := cni(t, n, check); got.failed {
			return errors.New(got.text)
		}
		return nil
	})
	vsctlOn(t, l, n, "clear", "port", port, "qos")
	if got := cni(t, n, check); !got.failed || got.Code != 100 || !strings.Contains(got.Msg, "what may be sent to eth0 (QoS of port "+port+")") {
		t.Errorf("CHECK without QoS: %s", got.text)
	}
	// The whole database, under an agent that starts anew.
	loseDatabase(t, l, n)
	eventually(t, "the limit is there again", twoRows)
	if p := podsOf(t, n)["limited"]; p.State != api.PodPlugged || p.IngressRate != 10_000_000 || p.EgressRate != 20_000_000 {
		t.Errorf("%+v", p)
	}
	deleted(t, n, c)
	noRows("after DEL")
}
