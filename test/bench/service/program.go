package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluice-cni/sluice/test/apiserver"
	"github.com/sluice-cni/sluice/test/bench/figures"
	"github.com/sluice-cni/sluice/test/bench/watched"
)

// programmed is what was measured with a number of Services, of ten backends each. Times are milliseconds,
// memory megabytes.
type programmed struct {
	Services int `json:"services"`
	// Cold is from an agent's start to all being in force in a switch that was empty.
	Cold float64 `json:"coldMs"`
	// Effect is from an EndpointSlice at the API server to the first connection at the new backend.
	EffectP50  float64 `json:"effectP50Ms"`
	EffectP99  float64 `json:"effectP99Ms"`
	AgentMB    float64 `json:"agentMB"`
	VswitchdMB float64 `json:"vswitchdMB"`
}

// Resources of the API.
const (
	nodesPath    = "/api/v1/nodes"
	servicesPath = "/api/v1/services"
	slicesPath   = "/apis/discovery.k8s.io/v1/endpointslices"
	namespace    = "bench"
)

const (
	// mostServices have addresses of their own in 10.96.0.0/12, and their backends in 10.128.0.0/9.
	mostServices = 10000
	perService   = 10
	// effectBound is how long an event may take before the benchmark is broken.
	effectBound = 30 * time.Second
)

// programs is the node with a client, and with a server that listens on two ports: events move
// the Service "moving" from one to the other.
type programs struct {
	options
	server  *apiserver.Server
	node    *watched.Node
	backend netip.Addr
	ports   [2]*acceptor
	at      int
}

func measurePrograms(ctx context.Context, o options) (out []programmed, err error) {
	progress("starting a node that watches an API server")
	p := &programs{options: o, server: apiserver.New()}
	if err := p.server.Put(nodesPath, self()); err != nil {
		return nil, err
	}
	p.node, err = watched.Start(ctx, "svc", o.binDir, p.server)
	defer func() { err = errors.Join(err, p.node.Stop(context.WithoutCancel(ctx))) }()
	if err != nil {
		return nil, err
	}
	if err := p.begin(ctx); err != nil {
		return nil, err
	}
	have := 0
	for _, n := range o.services {
		progress("%d Services", n)
		for ; have < n; have++ {
			if err := p.put(have); err != nil {
				return nil, err
			}
		}
		r, err := p.measure(ctx, n)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func self() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: watched.NodeName, UID: "u-n1"},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24"}},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.9.0.1"}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

// begin plugs the pods in, and makes the Service "moving".
func (p *programs) begin(ctx context.Context) (err error) {
	for _, name := range []string{"client", "server"} {
		if p.backend, _, err = p.node.Add(ctx, namespace, name); err != nil {
			return err
		}
	}
	for i := range p.ports {
		if p.ports[i], err = accept(ctx, p.node.Sandboxes["server"], port+i); err != nil {
			return err
		}
		context.AfterFunc(ctx, p.ports[i].stop)
	}
	return errors.Join(p.server.Put(servicesPath, newService("moving", moving)), p.move(0))
}

// moving is the virtual address of the Service that events are about.
var moving = netip.MustParseAddr("10.112.0.1")

func newService(name string, virtual netip.Addr) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{
			ClusterIP: virtual.String(), ClusterIPs: []string{virtual.String()}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromInt32(port)}},
		},
	}
}

func newSlice(name string, at int, addresses ...netip.Addr) *discoveryv1.EndpointSlice {
	protocol, port, unnamed, ready := corev1.ProtocolTCP, int32(at), "", true
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &unnamed, Protocol: &protocol, Port: &port}},
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	return s
}

// put makes the i-th Service.
func (p *programs) put(i int) error {
	name := fmt.Sprintf("service-%05d", i)
	var backends []netip.Addr
	for k := range perService {
		a := perService*i + k
		backends = append(backends, netip.AddrFrom4([4]byte{10, byte(128 + a/62500), byte(a / 250 % 250), byte(1 + a%250)}))
	}
	return errors.Join(
		p.server.Put(servicesPath, newService(name, netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(1 + i%250)}))),
		p.server.Put(slicesPath, newSlice(name, port, backends...)))
}

// move leads the Service to one of the two ports.
func (p *programs) move(to int) error {
	p.at = to
	return p.server.Put(slicesPath, newSlice("moving", port+to, p.backend))
}

func (p *programs) measure(ctx context.Context, n int) (programmed, error) {
	r := programmed{Services: n}
	if err := errors.Join(p.node.StopAgent(), p.empty()); err != nil {
		return r, err
	}
	began := time.Now()
	if err := p.node.StartAgent(ctx); err != nil {
		return r, err
	}
	r.Cold = time.Since(began).Seconds() * 1e3
	var profiled sync.WaitGroup
	if p.profile != "" {
		profiled.Go(func() { _ = p.node.Profile(ctx, p.profile, 5*time.Second) })
	}
	took, err := p.effects(ctx)
	if err != nil {
		return r, err
	}
	profiled.Wait()
	r.EffectP50, r.EffectP99 = figures.Percentile(took, 50), figures.Percentile(took, 99)
	r.AgentMB, r.VswitchdMB = p.node.AgentMB(), p.node.VswitchdMB()
	return r, nil
}

// empty leaves nothing in the switch.
func (p *programs) empty() error {
	for _, what := range []string{"del-flows", "del-groups"} {
		cmd := exec.Command("ovs-ofctl", "-O", "OpenFlow15", what, "br-sluice")
		cmd.Env = append(os.Environ(), "OVS_RUNDIR="+p.node.At.OVSRunDir)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ovs-ofctl %s: %w: %s", what, err, out)
		}
	}
	return nil
}

// effects are from events to what a client sees of them, that opens connections all the time.
func (p *programs) effects(ctx context.Context) (took []float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		_, err := connections(ctx, p.node.Sandboxes["client"], netip.AddrPortFrom(moving, port), time.Hour)
		failed <- err
	}()
	defer func() {
		cancel()
		if e := <-failed; !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
		}
	}()
	for range p.events {
		event := time.Now()
		if err := p.move(1 - p.at); err != nil {
			return nil, err
		}
		new := p.ports[p.at]
		for new.last.Load() < event.UnixNano() {
			if time.Since(event) > effectBound || ctx.Err() != nil {
				return nil, fmt.Errorf("no connection at the new backend %s after the event", time.Since(event))
			}
			time.Sleep(200 * time.Microsecond)
		}
		took = append(took, float64(new.last.Load()-event.UnixNano())/1e6)
		time.Sleep(50 * time.Millisecond) // as cached flows settle
	}
	return took, nil
}
