package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
)

// cellPort is that of the Services that cells are about; behind it is a pod's 8081.
const cellPort = 80

// cellLabel is of the pods that are clients and backends of cells, and has their name.
const cellLabel = "cell"

// caller is where a Service is asked from: a pod, or a node itself.
type caller struct {
	name, node string
	// pod is empty for a node, whose network namespace then is netns.
	pod, netns string
}

// backendPlace is what is behind a Service: one pod on the first node.
type backendPlace struct {
	name, answer string
	// addresses are the Service's, by internalTrafficPolicy.
	addresses map[corev1.ServiceInternalTrafficPolicy]netip.Addr
}

var (
	trafficPolicies = []corev1.ServiceInternalTrafficPolicy{corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal}
	cellProtocols   = []string{"tcp", "udp"}
)

// cells tries each Service from each place, by TCP and by UDP, once, and prints the table; the
// API server's Service too.
func (t trial) cells(ctx context.Context) error {
	callers, places, err := t.createCells(ctx)
	if err != nil {
		return err
	}
	first := places[0].addresses
	for _, c := range callers {
		if c.pod != "" {
			continue
		}
		// The Service that was made last is known on a node: its clients may begin.
		last := places[len(places)-1].addresses[corev1.ServiceInternalTrafficPolicyCluster]
		err := await(ctx, "the Services on "+c.node, probeBound, func(ctx context.Context) error {
			for _, address := range []netip.Addr{first[corev1.ServiceInternalTrafficPolicyCluster], last} {
				r, err := t.call(ctx, c, fmt.Sprintf("tcp:%s:%d", address, cellPort))
				if err == nil && !r[0].Reached {
					err = errors.New(r[0].Error)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(t.apiByService(ctx, callers), t.fillCells(ctx, callers, places))
}

// createCells makes a pod of its own network and one of the node's on each node, and the
// Services of those on the first.
func (t trial) createCells(ctx context.Context) ([]caller, []backendPlace, error) {
	listing, err := t.listing()
	if err != nil {
		return nil, nil, err
	}
	var callers []caller
	var places []backendPlace
	for i, n := range listing.Nodes {
		callers = append(callers, caller{name: "node " + n.Name, node: n.Name, netns: n.Netns})
		for _, hostNetwork := range []bool{false, true} {
			pod := cellPod(n.Name, hostNetwork)
			if _, err := t.client.CoreV1().Pods(trialNamespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
				return nil, nil, err
			}
			c := caller{name: "pod on " + n.Name, node: n.Name, pod: pod.Name}
			place := backendPlace{name: c.name, answer: pod.Name, addresses: map[corev1.ServiceInternalTrafficPolicy]netip.Addr{}}
			if hostNetwork {
				c.name = "hostNetwork " + c.name
				place.name, place.answer = c.name, n.Name // a node's host name is its pods', too
			}
			callers = append(callers, c)
			if i > 0 {
				continue
			}
			for _, policy := range trafficPolicies {
				service, err := t.client.CoreV1().Services(trialNamespace).Create(ctx, cellService(pod.Name, policy), metav1.CreateOptions{})
				if err != nil {
					return nil, nil, err
				}
				if place.addresses[policy], err = netip.ParseAddr(service.Spec.ClusterIP); err != nil {
					return nil, nil, err
				}
			}
			places = append(places, place)
		}
	}
	_, err = t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "wait", "--for=condition=Ready", "pod", "-l", cellLabel, "--timeout=2m")
	return callers, places, err
}

func cellPod(node string, hostNetwork bool) *corev1.Pod {
	name := "cell-" + node
	if hostNetwork {
		name += "-host"
	}
	grace := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{cellLabel: name}},
		Spec: corev1.PodSpec{
			NodeName: node, HostNetwork: hostNetwork, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "pod", Image: podImage}},
		},
	}
}

func cellService(pod string, policy corev1.ServiceInternalTrafficPolicy) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: pod + "-" + strings.ToLower(string(policy))},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{cellLabel: pod}, InternalTrafficPolicy: &policy},
	}
	for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{
			Name: strings.ToLower(string(protocol)), Protocol: protocol, Port: cellPort, TargetPort: intstr.FromInt32(8081),
		})
	}
	return s
}

// call makes attempts, each "protocol:host:port"; the results are in their order.
func (t trial) call(ctx context.Context, c caller, targets ...string) ([]lab.ProbeResult, error) {
	if c.pod != "" {
		return t.tryFrom(ctx, trialNamespace, c.pod, targets...)
	}
	results := make([]lab.ProbeResult, len(targets))
	err := netns.Do(c.netns, func() error {
		for i, target := range targets {
			protocol, to, _ := strings.Cut(target, ":")
			address, err := netip.ParseAddrPort(to)
			if err != nil {
				return err
			}
			answer, err := lab.Try(ctx, protocol, address)
			results[i] = lab.ProbeResult{To: to, Protocol: protocol, Reached: err == nil, AnsweredBy: answer}
			if err != nil {
				results[i].Error = err.Error()
			}
		}
		return nil
	})
	return results, err
}

// fillCells makes all attempts, and compares each with what the API says: a Service whose
// internalTrafficPolicy is Local has backends on the first node only.
func (t trial) fillCells(ctx context.Context, callers []caller, places []backendPlace) error {
	w := tabwriter.NewWriter(os.Stderr, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "  client\t")
	for _, place := range places {
		for _, policy := range trafficPolicies {
			fmt.Fprintf(w, "%s, %s\t", place.name, policy)
		}
	}
	fmt.Fprintln(w)
	rows := make([]string, len(callers))
	wrong := make([]error, len(callers))
	var g errgroup.Group
	g.SetLimit(4)
	for i, c := range callers {
		g.Go(func() (err error) {
			rows[i], wrong[i], err = t.row(ctx, c, places, callers[0].node)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, row := range rows {
		fmt.Fprintln(w, row)
	}
	return errors.Join(append(wrong, w.Flush())...)
}

// row is a client's line of the table, and what is wrong in it.
func (t trial) row(ctx context.Context, c caller, places []backendPlace, first string) (line string, wrong, err error) {
	var targets []string
	for _, place := range places {
		for _, policy := range trafficPolicies {
			for _, protocol := range cellProtocols {
				targets = append(targets, fmt.Sprintf("%s:%s:%d", protocol, place.addresses[policy], cellPort))
			}
		}
	}
	results, err := t.call(ctx, c, targets...)
	if err != nil {
		return "", nil, err
	}
	line = "  " + c.name + "\t"
	var errs []error
	for _, place := range places {
		for _, policy := range trafficPolicies {
			want := policy == corev1.ServiceInternalTrafficPolicyCluster || c.node == first
			cell := "-"
			for _, r := range results[:len(cellProtocols)] {
				if r.Reached != want || r.Reached && r.AnsweredBy != place.answer {
					errs = append(errs, fmt.Errorf("%s to %s, %s, by %s: reached: %v, expected %v; %q answered: %s", c.name, place.name, policy, r.Protocol, r.Reached, want, r.AnsweredBy, r.Error))
				}
				if r.Reached {
					cell = strings.TrimPrefix(cell+" "+r.Protocol, "- ")
				}
			}
			results = results[len(cellProtocols):]
			line += cell + "\t"
		}
	}
	return line, errors.Join(errs...), nil
}
