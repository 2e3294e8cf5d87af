package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/test/apiserver"
	"github.com/sluice-cni/sluice/test/bench/figures"
	"github.com/sluice-cni/sluice/test/bench/watched"
)

// row is what was measured in one case. Times are milliseconds, memory megabytes.
type row struct {
	Rules  int `json:"rules"`
	Pods   int `json:"pods"`
	Cached int `json:"cachedFlows"`
	// Enforced are from the event to the last forbidden packet.
	EnforcedP50 float64 `json:"enforcedP50"`
	EnforcedP99 float64 `json:"enforcedP99"`
	// PolicyFlows and PodFlows are how many flows an event of a policy and of a pod changes, PolicyBytes and
	// PodBytes how long they are in ovs-ofctl's words.
	PolicyFlows int     `json:"policyFlows"`
	PolicyBytes int     `json:"policyBytes"`
	PodFlows    int     `json:"podFlows"`
	PodBytes    int     `json:"podBytes"`
	Flows       int     `json:"flows"`
	AgentMB     float64 `json:"agentMB"`
	VswitchdMB  float64 `json:"vswitchdMB"`
	Add         float64 `json:"addP50"`
}

// result is all that was measured.
type result struct {
	// AddWithout is an ADD's p50 before there is any policy, by pods.
	AddWithout map[int]float64 `json:"addP50WithoutPolicies"`
	// ConnectionsUnpoliced and ConnectionsPoliced are connections a second between two pods without policies, and
	// when rules at both ends allow it.
	ConnectionsUnpoliced float64 `json:"connectionsUnpoliced"`
	ConnectionsPoliced   float64 `json:"connectionsPoliced"`
	Rows                 []row   `json:"rows"`
}

// localPods is how many pods the node has, one in each namespace.
const localPods = namespaces

// bench is one run. The pods l00 and l01 are the hammer's, l02 keeps cached flows.
type bench struct {
	options
	cluster   *cluster
	node      *watched.Node
	addresses []netip.Addr
	hammer    *hammer
	result    result
	changes   int
}

func run(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("must be root: what is measured makes network devices")
	}
	b := &bench{options: o, cluster: &cluster{Server: apiserver.New()}, result: result{AddWithout: map[int]float64{}}}
	b.node, err = startNodeFor(ctx, o, b.cluster)
	defer func() { err = errors.Join(err, b.node.Stop(context.WithoutCancel(ctx))) }()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := b.plugIn(ctx); err != nil {
		return err
	}
	if err := b.connections(ctx); err != nil {
		return err
	}
	if b.hammer, err = newHammer(ctx, b.sandbox(0), b.sandbox(1), b.addresses[1]); err != nil {
		return err
	}
	for _, pods := range o.pods {
		b.cluster.shrink()
		if err := b.pods(ctx, pods); err != nil {
			return fmt.Errorf("%d pods: %w\n%s", pods, err, b.node.Log.Bytes()[max(0, b.node.Log.Len()-3000):])
		}
	}
	if err := b.print(); err != nil {
		return err
	}
	return figures.WriteJSON(o.out, b.result)
}

// startNodeFor starts the node once the API server knows of it.
func startNodeFor(ctx context.Context, o options, c *cluster) (*watched.Node, error) {
	progress("starting a lab")
	if err := c.begin(newNode(watched.NodeName, "10.244.1.0/24", "10.9.0.1")); err != nil {
		return &watched.Node{}, err
	}
	return watched.Start(ctx, "pol", o.binDir, c)
}

func localName(i int) string { return fmt.Sprintf("l%02d", i) }

func (b *bench) sandbox(i int) string { return b.node.Sandboxes[localName(i)] }

// plugIn plugs the node's pods in.
func (b *bench) plugIn(ctx context.Context) error {
	for i := range localPods {
		labels := map[string]string{"app": "app0", "pod": localName(i)}
		if err := b.cluster.put(podsPath, newPod(namespaceName(i), localName(i), watched.NodeName, "", labels)); err != nil {
			return err
		}
		address, _, err := b.node.Add(ctx, namespaceName(i), localName(i))
		if err != nil {
			return err
		}
		b.addresses = append(b.addresses, address)
		if err := b.cluster.put(podsPath, newPod(namespaceName(i), localName(i), watched.NodeName, address.String(), labels)); err != nil {
			return err
		}
	}
	return nil
}

// pods measures all cases of a number of pods.
func (b *bench) pods(ctx context.Context, pods int) error {
	progress("%d pods", pods)
	if err := errors.Join(b.cluster.grow(pods, 0), b.inForce(ctx)); err != nil {
		return err
	}
	var err error
	if b.result.AddWithout[pods], err = b.timeAdds(ctx); err != nil {
		return err
	}
	if err := b.allow(); err != nil {
		return err
	}
	for _, rules := range b.rules {
		if err := errors.Join(b.cluster.grow(pods, rules), b.inForce(ctx)); err != nil {
			return err
		}
		for _, cached := range b.cached {
			progress("%d pods, %d rules, %d cached flows", pods, rules, cached)
			r, err := b.measure(ctx, row{Rules: rules, Pods: pods, Cached: cached})
			if err != nil {
				return err
			}
			b.result.Rows = append(b.result.Rows, r)
		}
	}
	return nil
}

// allow puts in what lets the hammer through, and the pod l02 speak with everybody while it is judged.
func (b *bench) allow() error {
	hammered := newPolicy(namespaceName(1), "hammered", "app0", networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}})
	speaks := newPolicy(namespaceName(2), "speaks", "app0", networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{
			{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8"}},
		}}},
	})
	return b.cluster.put(policiesPath, hammered, speaks)
}

// inForce waits until the agent has what the API server has.
func (b *bench) inForce(ctx context.Context) error {
	b.changes++
	marker := newPod("ns00", "marker", "nowhere", "", map[string]string{"change": strconv.Itoa(b.changes)})
	return b.binds(ctx, func() error { return b.cluster.put(podsPath, marker) })
}

// binds makes a change, and waits until it is in force.
func (b *bench) binds(ctx context.Context, change func() error) error {
	before, err := api.NewClient(b.node.At.AgentSocket).Status(ctx)
	if err == nil {
		err = change()
	}
	if err != nil {
		return err
	}
	return b.node.Await(ctx, func(s api.Status) bool {
		return s.Ready && s.Input.Seen != before.Input.Seen && s.Input.Seen == s.Input.Installed
	})
}

// measure measures one case.
func (b *bench) measure(ctx context.Context, r row) (row, error) {
	caseCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := keepCached(caseCtx, b.sandbox(2), r.Cached, r.Pods); err != nil {
		return r, err
	}
	var err error
	if r.PolicyFlows, r.PolicyBytes, err = b.changed(ctx, func() error { return b.denies() }); err != nil {
		return r, err
	}
	if _, _, err = b.changed(ctx, func() error { b.allows(); return nil }); err != nil {
		return r, err
	}
	relabelled := remotePod(1, len(b.result.Rows)+1)
	if r.PodFlows, r.PodBytes, err = b.changed(ctx, func() error { return b.cluster.put(podsPath, relabelled) }); err != nil {
		return r, err
	}
	var churn sync.WaitGroup
	churn.Go(func() { b.churn(caseCtx, r.Pods) })
	defer churn.Wait()
	defer cancel()
	time.Sleep(4 * time.Second) // until all cached flows are there
	if r.Cached, err = b.currentlyCached(ctx); err != nil {
		return r, err
	}
	var profiled sync.WaitGroup
	if b.profile != "" {
		profiled.Go(func() { _ = b.node.Profile(ctx, b.profile, 15*time.Second) })
	}
	took, err := b.timeEvents(ctx)
	if err != nil {
		return r, err
	}
	profiled.Wait()
	r.EnforcedP50, r.EnforcedP99 = figures.Percentile(took, 50), figures.Percentile(took, 99)
	if r.Add, err = b.timeAdds(ctx); err != nil {
		return r, err
	}
	status, err := api.NewClient(b.node.At.AgentSocket).Status(ctx)
	if err != nil {
		return r, err
	}
	r.Flows = status.Flows.Installed
	r.AgentMB, r.VswitchdMB = b.node.AgentMB(), b.node.VswitchdMB()
	return r, nil
}

// denies puts a policy in the place of the one that lets the hammer through, allows takes it back.
func (b *bench) denies() error {
	return b.cluster.put(policiesPath, newPolicy(namespaceName(1), "hammered", "app0", networkingv1.NetworkPolicySpec{}))
}

func (b *bench) allows() { _ = b.allow() }

// timeEvents are from the policy at the API server to the last packet that it forbids.
func (b *bench) timeEvents(ctx context.Context) (took []float64, err error) {
	const bound = 30 * time.Second
	for range b.events {
		if err := b.hammer.back(ctx, time.Now(), bound); err != nil {
			return nil, err
		}
		time.Sleep(1100 * time.Millisecond) // a purge a second is the most that there is
		event := time.Now()
		if err := b.denies(); err != nil {
			return nil, err
		}
		t, err := b.hammer.silentAfter(ctx, event, bound)
		if err != nil {
			return nil, err
		}
		took = append(took, t.Seconds()*1e3)
		time.Sleep(700 * time.Millisecond)
		b.allows()
	}
	return took, b.hammer.back(ctx, time.Now(), bound)
}

// timeAdds is the p50 of plugging a pod in that policies select, if there are any.
func (b *bench) timeAdds(ctx context.Context) (float64, error) {
	var took []float64
	namespace, name := namespaceName(3), "added"
	defer b.cluster.Delete(podsPath, namespace, name)
	for range b.adds {
		if err := b.cluster.put(podsPath, newPod(namespace, name, watched.NodeName, "", map[string]string{"app": "app0"})); err != nil {
			return 0, err
		}
		time.Sleep(100 * time.Millisecond) // kubelet is not that quick either
		_, t, err := b.node.Add(ctx, namespace, name)
		if err != nil {
			return 0, err
		}
		took = append(took, t.Seconds()*1e3)
		if err := b.node.Del(ctx, namespace, name); err != nil {
			return 0, err
		}
	}
	return figures.Percentile(took, 50), nil
}

// churn relabels pods elsewhere, and takes them away and brings them back, until ctx ends.
func (b *bench) churn(ctx context.Context, pods int) {
	if b.options.churn == 0 {
		return
	}
	tick := time.NewTicker(time.Second / time.Duration(b.options.churn))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p := remotePod(pods-1-i/3%100, i/300)
		if i%3 == 1 {
			b.cluster.Delete(podsPath, p.Namespace, p.Name)
		} else {
			_ = b.cluster.put(podsPath, p)
		}
	}
}

// changed is how many flows the switch is told of by what do does, and how long they are.
func (b *bench) changed(ctx context.Context, do func() error) (flows, length int, err error) {
	if err := b.inForce(ctx); err != nil {
		return 0, 0, err
	}
	before, err := b.dump(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := errors.Join(b.binds(ctx, do), b.inForce(ctx)); err != nil {
		return 0, 0, err
	}
	after, err := b.dump(ctx)
	for f := range before {
		if !after[f] {
			flows, length = flows+1, length+len(f)
		}
	}
	for f := range after {
		if !before[f] {
			flows, length = flows+1, length+len(f)
		}
	}
	return flows, length, err
}

func (b *bench) dump(ctx context.Context) (map[string]bool, error) {
	conn, err := openflow.Dial(ctx, filepath.Join(b.node.At.OVSRunDir, "br-sluice.mgmt"), nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	entries, err := conn.Dump(ctx)
	out := make(map[string]bool, len(entries))
	for _, e := range entries {
		out[e.Flow.String()] = true
	}
	return out, err
}

var current = regexp.MustCompile(`\(current (\d+)\)`)

func (b *bench) currentlyCached(ctx context.Context) (int, error) {
	text, err := b.node.Appctl(ctx, "upcall/show")
	if err != nil {
		return 0, err
	}
	m := current.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("upcall/show: %s", text)
	}
	return strconv.Atoi(m[1])
}

// connections measures connections a second between two pods, without policies and with rules at both ends.
func (b *bench) connections(ctx context.Context) (err error) {
	measure := func() (float64, error) {
		return connections(ctx, b.sandbox(4), b.sandbox(5), b.addresses[5], 3*time.Second)
	}
	if b.result.ConnectionsUnpoliced, err = measure(); err != nil {
		return err
	}
	out := newPolicy(namespaceName(4), "opens", "app0", networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress:      []networkingv1.NetworkPolicyEgressRule{{Ports: tenRules(0).Spec.Ingress[0].Ports}},
	})
	in := newPolicy(namespaceName(5), "serves", "app0", networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{Ports: tenRules(0).Spec.Ingress[0].Ports}}})
	if err := errors.Join(b.cluster.put(policiesPath, out, in), b.inForce(ctx)); err != nil {
		return err
	}
	b.result.ConnectionsPoliced, err = measure()
	b.cluster.Delete(policiesPath, out.Namespace, out.Name)
	b.cluster.Delete(policiesPath, in.Namespace, in.Name)
	return err
}

func (b *bench) print() error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "rules\tpods\tcached flows\tenforced p50 ms\tp99\tflows changed by a policy\tbytes\tby a pod\tbytes\tflows\tagent MB\tvswitchd MB\tADD p50 ms\twithout policies\t")
	for _, r := range b.result.Rows {
		fmt.Fprintf(w, "%d\t%d\t%d\t%.1f\t%.1f\t%d\t%d\t%d\t%d\t%d\t%.0f\t%.0f\t%.1f\t%.1f\t\n", r.Rules, r.Pods, r.Cached, r.EnforcedP50, r.EnforcedP99,
			r.PolicyFlows, r.PolicyBytes, r.PodFlows, r.PodBytes, r.Flows, r.AgentMB, r.VswitchdMB, r.Add, b.result.AddWithout[r.Pods])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Printf("connections a second between two pods: %.0f without policies, %.0f judged at both ends\n", b.result.ConnectionsUnpoliced, b.result.ConnectionsPoliced)
	return nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
