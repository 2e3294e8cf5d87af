package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
)

// place is all that a run has made. The zero value is nothing.
type place struct {
	lab        *lab.Lab
	ovs        *daemon.OVS
	dir        string
	namespaces []string
}

// setUp makes Sluice's lab and its peers.
func (p *place) setUp(ctx context.Context, binDir string) ([]race, error) {
	progress("starting a lab of two nodes")
	var err error
	p.lab, err = lab.Up(ctx, lab.Options{Name: fmt.Sprintf("bench%d", os.Getpid()), BinDir: binDir, Datapath: lab.SystemDatapath})
	if err != nil {
		return nil, err
	}
	list, err := p.lab.List()
	if err != nil {
		return nil, err
	}
	pods := map[string]end{}
	for _, name := range []string{"a1", "b1", "a2"} {
		pod, ok := list.Pod(name)
		if !ok || len(pod.Addresses) == 0 {
			return nil, fmt.Errorf("the lab has no pod %s with an address", name)
		}
		pods[name] = end{pod.Netns, pod.Addresses[0]}
	}
	mtu, err := mtu(pods["a1"].netns)
	if err != nil {
		return nil, err
	}
	progress("making the peers, with the pods' MTU of %d bytes", mtu)
	bridge, err := p.bridge(ctx, mtu)
	if err != nil {
		return nil, fmt.Errorf("linux bridge: %w", err)
	}
	flow, err := p.flow(ctx, mtu)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", static, err)
	}
	vxlan, err := p.vxlan(ctx, mtu)
	if err != nil {
		return nil, fmt.Errorf("linux vxlan: %w", err)
	}
	return []race{
		{"same-node", "same node", []way{newWay("sluice", pods["a1"], pods["b1"]), bridge, flow}},
		{"across-nodes", "across nodes", []way{newWay("sluice", pods["a1"], pods["a2"]), vxlan}},
	}, nil
}

func newWay(name string, from, to end) way {
	return way{name: name, from: from, to: to, rates: map[kind][]float64{}}
}

func mtu(namespace string) (mtu int, err error) {
	err = netns.Do(namespace, func() error {
		link, err := net.InterfaceByName("eth0")
		if err == nil {
			mtu = link.MTU
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("MTU of eth0 in %s: %w", namespace, err)
	}
	return mtu, nil
}

// bridge is two namespaces on a Linux bridge in a third.
func (p *place) bridge(ctx context.Context, mtu int) (way, error) {
	ends, err := p.ends("bridge", 70)
	if err != nil {
		return way{}, err
	}
	host, err := p.namespace("bridge")
	if err != nil {
		return way{}, err
	}
	if err := ip(ctx, host, "link add br0 type bridge", "link set br0 up"); err != nil {
		return way{}, err
	}
	for i, e := range ends {
		if err := plug(ctx, host, e, mtu, fmt.Sprintf("p%d", i), "master br0"); err != nil {
			return way{}, err
		}
	}
	return newWay("linux bridge", ends[0], ends[1]), nil
}

// flow is two namespaces on a bridge of Open vSwitch in a third, which has one flow
// each way.
func (p *place) flow(ctx context.Context, mtu int) (way, error) {
	ends, err := p.ends("flow", 71)
	if err != nil {
		return way{}, err
	}
	host, err := p.namespace("flow")
	if err != nil {
		return way{}, err
	}
	if p.dir, err = os.MkdirTemp("", "bench-ovs-"); err != nil {
		return way{}, err
	}
	if p.ovs, err = daemon.New(p.dir, netns.Path(host)); err != nil {
		return way{}, err
	}
	if err := p.ovs.Start(ctx); err != nil {
		return way{}, err
	}
	for i, e := range ends {
		if err := plug(ctx, host, e, mtu, fmt.Sprintf("p%d", i), ""); err != nil {
			return way{}, err
		}
	}
	for _, command := range []string{
		"ovs-vsctl --timeout=30 add-br br0 -- set bridge br0 datapath_type=system fail_mode=secure" +
			" -- add-port br0 p0 -- set interface p0 ofport_request=1 -- add-port br0 p1 -- set interface p1 ofport_request=2",
		"ovs-ofctl add-flow br0 in_port=1,actions=output:2",
		"ovs-ofctl add-flow br0 in_port=2,actions=output:1",
	} {
		argv := strings.Fields(command)
		if argv[0] == "ovs-vsctl" {
			argv = append([]string{argv[0], "--db=" + p.ovs.DBEndpoint()}, argv[1:]...)
		}
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = p.ovs.Env()
		if out, err := cmd.CombinedOutput(); err != nil {
			return way{}, fmt.Errorf("%s: %w: %s", command, err, out)
		}
	}
	return newWay(static, ends[0], ends[1]), nil
}

// vxlan is two namespaces, each on a Linux bridge of a host of its own, with a vxlan
// device between the hosts. These stand on an underlay as a lab's nodes do. Like the
// agent's Geneve, the outer UDP header has no checksum.
func (p *place) vxlan(ctx context.Context, mtu int) (way, error) {
	ends, err := p.ends("vxlan", 72)
	if err != nil {
		return way{}, err
	}
	wire, err := p.namespace("vxlan-wire")
	if err != nil {
		return way{}, err
	}
	if err := ip(ctx, wire, "link add br0 type bridge", "link set br0 up"); err != nil {
		return way{}, err
	}
	for i, e := range ends {
		host, err := p.namespace(fmt.Sprintf("vxlan-host%d", i))
		if err != nil {
			return way{}, err
		}
		own := end{netns.Path(host), netip.AddrFrom4([4]byte{10, 73, 0, byte(i + 1)})}
		other := netip.AddrFrom4([4]byte{10, 73, 0, byte(2 - i)})
		if err := plug(ctx, wire, own, lab.DefaultMTU, fmt.Sprintf("p%d", i), "master br0"); err != nil {
			return way{}, err
		}
		err = ip(ctx, host,
			fmt.Sprintf("link add vx type vxlan id 42 local %s remote %s dstport 4789 noudpcsum", own.address, other),
			"link add br0 type bridge",
			fmt.Sprintf("link set vx master br0 mtu %d up", mtu),
			"link set br0 up",
		)
		if err != nil {
			return way{}, err
		}
		if err := plug(ctx, host, e, mtu, "p", "master br0"); err != nil {
			return way{}, err
		}
	}
	return newWay("linux vxlan", ends[0], ends[1]), nil
}

// ends makes two namespaces for the ends of streams, with addresses in 10.NET.0.0/24.
func (p *place) ends(name string, network byte) (ends [2]end, err error) {
	for i := range ends {
		ns, err := p.namespace(fmt.Sprintf("%s-end%d", name, i))
		if err != nil {
			return ends, err
		}
		ends[i] = end{netns.Path(ns), netip.AddrFrom4([4]byte{10, network, 0, byte(i + 1)})}
	}
	return ends, nil
}

// plug connects an end, as its eth0, to a device in a host, which is then set so.
func plug(ctx context.Context, host string, e end, mtu int, device, set string) error {
	ns := filepath.Base(e.netns)
	err := ip(ctx, host,
		fmt.Sprintf("link add %s mtu %d type veth peer name eth0 mtu %d netns %s", device, mtu, mtu, ns),
		fmt.Sprintf("link set %s %s up", device, set),
	)
	if err != nil {
		return err
	}
	return ip(ctx, ns, fmt.Sprintf("addr add %s/24 dev eth0", e.address), "link set eth0 up")
}

// namespace makes a namespace and returns its full name.
func (p *place) namespace(name string) (string, error) {
	name = fmt.Sprintf("bench%d-%s", os.Getpid(), name)
	if _, err := netns.Create(name); err != nil {
		return "", err
	}
	p.namespaces = append(p.namespaces, name)
	return name, nil
}

// ip runs commands of iproute2 in a namespace.
func ip(ctx context.Context, namespace string, lines ...string) error {
	cmd := exec.CommandContext(ctx, "ip", "-n", namespace, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip in %s: %q: %w: %s", namespace, lines, err, out)
	}
	return nil
}

// clear removes all of it.
func (p *place) clear(ctx context.Context) error {
	var errs []error
	if p.lab != nil {
		errs = append(errs, p.lab.Down(ctx))
	}
	if p.ovs != nil {
		errs = append(errs, p.ovs.StopAll(ctx))
	}
	if p.dir != "" {
		errs = append(errs, os.RemoveAll(p.dir))
	}
	for _, name := range p.namespaces {
		errs = append(errs, netns.Delete(name))
	}
	return errors.Join(errs...)
}
