package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/bench/figures"
	"github.com/sluice-cni/sluice/test/lab"
)

// rate is what was measured between two pods.
type rate struct {
	Where string `json:"where"`
	// Direct and Service are connections a second, the medians of all rounds.
	Direct  float64 `json:"direct"`
	Service float64 `json:"service"`
	// Ratio is the median of the rounds' own; Lowest and Highest are among them.
	Ratio   float64 `json:"ratio"`
	Lowest  float64 `json:"lowestRatio"`
	Highest float64 `json:"highestRatio"`
}

// port is where servers are asked directly, and Services; behind these servers listen on the next one. Were it
// the same, a client that comes to a port of its own again would have two connections of one pair of ends, the
// one's of which still ends.
const port = 80

// ratePods are a client, and servers on its node and on another one.
const ratePods = `
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: n1, containers: [{name: c, image: example.com/c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: near}
spec: {nodeName: n1, containers: [{name: c, image: example.com/c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far}
spec: {nodeName: n2, containers: [{name: c, image: example.com/c}]}
`

// measureRates makes connections from a pod to one of its node, and to one of another, directly and by a Service in
// turns.
func measureRates(ctx context.Context, o options) (rates []rate, err error) {
	progress("starting a lab of two nodes")
	objects, err := lab.ParseObjects("pods.yaml", []byte(ratePods))
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("benchsvc-%d", os.Getpid())
	defer func() { err = errors.Join(err, lab.Down(context.WithoutCancel(ctx), name, os.Stderr)) }()
	l, err := lab.Up(ctx, lab.Options{Name: name, Nodes: 2, Objects: objects, BinDir: o.binDir})
	if err != nil {
		return nil, err
	}
	listing, err := l.List()
	if err != nil {
		return nil, err
	}
	pods := map[string]lab.PodListing{}
	for _, p := range listing.Pods {
		pods[p.Name] = p
	}
	for i, where := range []struct{ name, server string }{{"on one node", "near"}, {"across nodes", "far"}} {
		server, virtual := pods[where.server], netip.AddrFrom4([4]byte{10, 96, 0, byte(i + 1)})
		if err := l.ApplyYAML(ctx, rateService(where.server, virtual, server)); err != nil {
			return nil, err
		}
		for i := range 2 {
			a, err := accept(ctx, server.Netns, port+i)
			if err != nil {
				return nil, err
			}
			defer a.stop()
		}
		r, err := compare(ctx, o, where.name, pods["client"].Netns, server.Addresses[0], virtual)
		if err != nil {
			return nil, err
		}
		rates = append(rates, r)
	}
	return rates, nil
}

func rateService(name string, virtual netip.Addr, server lab.PodListing) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {clusterIPs: [%[2]s], ports: [{protocol: TCP, port: %[5]d}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: "", protocol: TCP, port: %[6]d}]
endpoints: [{addresses: [%[3]s], nodeName: %[4]s, conditions: {ready: true}}]
`, name, virtual, server.Addresses[0], server.Node, port, port+1)
}

func compare(ctx context.Context, o options, where, from string, direct, virtual netip.Addr) (rate, error) {
	var rates [2][]float64
	var ratios []float64
	for i := range o.rounds {
		progress("connections %s, round %d of %d", where, i+1, o.rounds)
		for turn := range 2 {
			which := (turn + i) % 2 // whoever comes first may have an advantage
			to := []netip.Addr{direct, virtual}[which]
			r, err := connections(ctx, from, netip.AddrPortFrom(to, port), o.lasting)
			if err != nil {
				return rate{}, err
			}
			rates[which] = append(rates[which], r)
		}
		ratios = append(ratios, rates[1][i]/rates[0][i])
	}
	return rate{where, figures.Percentile(rates[0], 50), figures.Percentile(rates[1], 50), figures.Percentile(ratios, 50), slices.Min(ratios), slices.Max(ratios)}, nil
}

// connections opens and closes TCP connections one after the other, and returns how many a second.
func connections(ctx context.Context, from string, to netip.AddrPort, lasting time.Duration) (float64, error) {
	n, began := 0, time.Now()
	err := netns.Do(from, func() error {
		for time.Since(began) < lasting && ctx.Err() == nil {
			if err := connect(to); err != nil {
				return err
			}
			n++
		}
		return ctx.Err()
	})
	return float64(n) / time.Since(began).Seconds(), err
}

// connect opens a connection and closes it with a reset, or ports would run out.
func connect(to netip.AddrPort) error {
	c, err := net.DialTimeout("tcp4", to.String(), 5*time.Second)
	if err != nil {
		return err
	}
	return errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close())
}
