package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-cni/sluice/test/lab"
)

// serviceObjects are a Deployment, backend, its Services, and clients.
//
//go:embed services.yaml
var serviceObjects []byte

// backends is how many pods the Deployment has.
const backends = 4

func servicesCommand(p *place) *cobra.Command {
	return trialCommand(p, "services", "Prove that Services work: names, probes, roll-outs under traffic, from everywhere to everywhere", trial.services)
}

// services goes through all that a cluster asks of its Services.
func (t trial) services(ctx context.Context) error {
	if err := t.look(ctx); err != nil {
		return err
	}
	return inTurn(ctx, []phase{
		{"a Deployment, its Services, clients", t.createServices},
		{"names, and what they lead to", t.names},
		{"readiness and liveness lead clients elsewhere", t.probes},
		{"scaled up and down under traffic", t.scaled},
		{"rolled out under traffic", t.rolledOut},
		{"environment", t.environment},
		{"from everywhere to everywhere", t.cells},
		{"pods deleted, nothing left on the nodes", t.delete},
	})
}

func (t trial) createServices(ctx context.Context) error {
	if _, err := t.kubectl(ctx, t.cache, serviceObjects, "apply", "-f", "-"); err != nil {
		return err
	}
	return t.rolled(ctx, "daemonset/client", "deployment/backend")
}

// rolled waits until the Deployments or DaemonSets have all their pods.
func (t trial) rolled(ctx context.Context, names ...string) error {
	for _, name := range names {
		if _, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "rollout", "status", name, "--timeout=3m"); err != nil {
			return fmt.Errorf("%w%s", err, t.notReadyPods(ctx))
		}
	}
	return nil
}

// notReadyPods says what keeps pods from being Ready.
func (t trial) notReadyPods(ctx context.Context) string {
	pods, err := t.list(ctx)
	if err != nil {
		return ""
	}
	out := ""
	for _, pod := range pods {
		if !ready(pod) {
			out += fmt.Sprintf("\npod %s on %s: %s%s", pod.Name, pod.Spec.NodeName, pod.Status.Phase, t.events(ctx, pod))
		}
	}
	return out
}

// of are the pods of an app that are not being deleted.
func (t trial) of(ctx context.Context, namespace, app string) ([]corev1.Pod, error) {
	list, err := t.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), nil
}

// fromEach makes the same attempts from each client, all at once; check says what is wrong
// with a client's results.
func (t trial) fromEach(ctx context.Context, namespace, app string, targets []string, check func([]lab.ProbeResult) error) error {
	clients, err := t.of(ctx, namespace, app)
	if err != nil {
		return err
	}
	if len(clients) == 0 {
		return fmt.Errorf("there is no %s", app)
	}
	var g errgroup.Group
	for _, client := range clients {
		g.Go(func() error {
			results, err := t.tryFrom(ctx, namespace, client.Name, targets...)
			if err == nil {
				err = check(results)
			}
			if err != nil {
				return fmt.Errorf("%s on %s: %w", client.Name, client.Spec.NodeName, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// names sees that pods on each node are answered by DNS, and reach what the names stand for.
func (t trial) names(ctx context.Context) error {
	service, err := t.client.CoreV1().Services(trialNamespace).Get(ctx, "backend", metav1.GetOptions{})
	if err != nil {
		return err
	}
	pods, err := t.of(ctx, trialNamespace, "backend")
	if err != nil {
		return err
	}
	clusterIP, names := service.Spec.ClusterIP, podNames(pods)
	// CoreDNS may hear of Services and of their pods later than others.
	err = await(ctx, "CoreDNS to know the Services", probeBound, func(ctx context.Context) error { return t.answered(ctx, clusterIP, pods) })
	if err != nil {
		return err
	}
	const whole = "backend." + trialNamespace + ".svc." + clusterDomain
	var targets []string
	for _, host := range []string{"backend", "backend." + trialNamespace, whole} {
		targets = append(targets, "http:"+host, "tcp:"+host+":81", "udp:"+host+":81")
	}
	const refused = "nobody:80"
	targets = append(targets, "tcp:"+refused)
	return t.fromEach(ctx, trialNamespace, "client", targets, func(results []lab.ProbeResult) error {
		var errs []error
		for _, r := range results {
			if r.To == refused {
				if !strings.Contains(r.Error, "connection refused") {
					errs = append(errs, fmt.Errorf("a Service without pods, %s: %q answered: %s", r.To, r.AnsweredBy, r.Error))
				}
				continue
			}
			if !r.Reached || !slices.Contains(names, r.AnsweredBy) {
				errs = append(errs, fmt.Errorf("%s by %s: %q answered: %s", r.To, r.Protocol, r.AnsweredBy, r.Error))
			}
		}
		return errors.Join(errs...)
	})
}

// answered compares what CoreDNS answers with the Services.
func (t trial) answered(ctx context.Context, clusterIP string, pods []corev1.Pod) error {
	want := map[string]string{
		"kubernetes.default.svc":                    apiService,
		"kube-dns.kube-system.svc." + clusterDomain: dnsService,
		"backend":                            clusterIP,
		"backend." + trialNamespace + ".svc": clusterIP,
		"headless":                           addresses(pods),
		"alias":                              apiService,
		"nothing." + trialNamespace + ".svc." + clusterDomain + ".": "",
	}
	var targets []string
	for name := range want {
		targets = append(targets, "dns:"+name)
	}
	return t.fromEach(ctx, trialNamespace, "client", targets, func(results []lab.ProbeResult) error {
		var errs []error
		for _, r := range results {
			if r.AnsweredBy != want[r.To] {
				errs = append(errs, fmt.Errorf("%s has the addresses %q, not %q: %s", r.To, r.AnsweredBy, want[r.To], r.Error))
			}
			if want[r.To] == "" && !strings.Contains(r.Error, "no such host") {
				errs = append(errs, fmt.Errorf("%s: %q, expected that there is none", r.To, r.Error))
			}
		}
		return errors.Join(errs...)
	})
}

// addresses are the pods', sorted, as one text.
func addresses(pods []corev1.Pod) string {
	var out []netip.Addr
	for _, pod := range pods {
		if a, err := netip.ParseAddr(pod.Status.PodIP); err == nil {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(out), " ", ","), "[]")
}

func podNames(pods []corev1.Pod) []string {
	var out []string
	for _, pod := range pods {
		out = append(out, pod.Name)
	}
	return out
}

// environment looks at what kubelet tells a container of Services that were there before it.
func (t trial) environment(ctx context.Context) error {
	pods, err := t.of(ctx, trialNamespace, "backend")
	if err != nil {
		return err
	}
	service, err := t.client.CoreV1().Services(trialNamespace).Get(ctx, "backend", metav1.GetOptions{})
	if err != nil {
		return err
	}
	out, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "exec", pods[0].Name, "--", "cat", "/proc/1/environ")
	if err != nil {
		return err
	}
	have := strings.Split(out, "\x00")
	var errs []error
	for _, want := range []string{
		"KUBERNETES_SERVICE_HOST=" + apiService, "BACKEND_SERVICE_HOST=" + service.Spec.ClusterIP, "BACKEND_SERVICE_PORT_SESSION=81",
	} {
		if !slices.Contains(have, want) {
			errs = append(errs, fmt.Errorf("pod %s does not have %s in its environment", pods[0].Name, want))
		}
	}
	return errors.Join(errs...)
}
