package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/test/lab"
	"github.com/sluice-cni/sluice/test/traffic"
)

// judgedAtBothEnds is a policy at either end of the connections from shop/web.
const judgedAtBothEnds = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  egress: [{to: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [db, api]}]}}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: servers, namespace: shop}
spec:
  podSelector: {matchExpressions: [{key: app, operator: In, values: [db, api]}]}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]
`

// unrelated is the i-th policy that says nothing of those connections. It selects a pod of n1 that has
// none of them, and names peers by what no policy has mentioned before: all identities change.
func unrelated(i int) string {
	peer := []string{
		"{podSelector: {matchLabels: {app: db}}}",
		fmt.Sprintf("{namespaceSelector: {}, podSelector: {matchExpressions: [{key: key-%d, operator: DoesNotExist}, {key: app, operator: Exists}]}}", i),
		fmt.Sprintf("{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.%d.0/24]}}", i%256),
	}[i%3]
	return fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p%d, namespace: ops}
spec:
  podSelector: {matchLabels: {app: dns}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [%s], ports: [{port: %d}, {port: 53, protocol: UDP}]}]
  egress: [{to: [%s]}]
`, i, peer, 1000+i, peer)
}

// judgedStreams are connections that policies at both ends allow. They send no more often than an ovs-vswitchd
// in userspace bears that has just forgotten its cached flows: its sockets hold some 300 packets.
func judgedStreams(t *testing.T, l *lab.Lab) []*traffic.Stream {
	t.Helper()
	web, api, db := pod(t, l, "shop/web"), pod(t, l, "shop/api"), pod(t, l, "shop/db")
	var out []*traffic.Stream
	for i, family := range []string{"4", "6"}[:len(web.Addresses)] {
		for where, to := range map[string]lab.PodListing{"on one node": api, "across nodes": db} {
			out = append(out,
				traffic.Ping(t, "ping by IPv"+family+" "+where, web.Netns, to.Addresses[i]),
				traffic.Connect(t, "TCP by IPv"+family+" "+where, "tcp"+family, web.Netns, to.Addresses[i]),
				traffic.Connect(t, "UDP by IPv"+family+" "+where, "udp"+family, web.Netns, to.Addresses[i]))
		}
	}
	return out
}

// losses are what streams lost while something was done, but for what was sent while the static
// flow in the same ovs-vswitchd had no answers either.
func losses(t *testing.T, what string, beside static, streams []*traffic.Stream, do func()) (lost int) {
	t.Helper()
	control := beside.ping(t)
	for _, s := range append(streams, control) {
		s.Begin()
	}
	time.Sleep(settle)
	began := time.Now()
	do()
	took := time.Since(began)
	time.Sleep(settle)
	for _, s := range streams {
		s.Stop()
	}
	still := control.Finish()
	sent, excused := 0, 0
	for _, s := range streams {
		r := s.Finish()
		if r.Broken != nil || len(r.Lost) == r.Sent {
			t.Errorf("%s: %s broke: %v", what, s.Name, r.Broken)
		}
		sent += r.Sent
		for _, at := range r.Lost {
			if slices.ContainsFunc(still.Gaps, func(g traffic.Span) bool { return g.Holds(at) }) {
				excused++
			} else {
				lost++
			}
		}
	}
	traffic.Measured(t, "%s, in %d ms: lost %d of %d, and %d while the static flow stood still (%d of %d ms)",
		what, took.Milliseconds(), lost, sent, excused, still.Still.Milliseconds(), still.Lasted.Milliseconds())
	if excused > 0 && float64(still.Still) > tooBusy*float64(still.Lasted) {
		t.Errorf("%s: %d were lost while ovs-vswitchd stood still, %s of %s: the machine is too busy to tell anything", what, excused, still.Still, still.Lasted)
	}
	return lost
}

// TestPoliciesComeAndGoUnderTraffic, one by one: what other
// policies allow loses no more than while as many bundles change nothing.
func TestPoliciesComeAndGoUnderTraffic(t *testing.T) {
	l := recipeLab(t, lab.Dual)
	knownToBoth(t, l, judgedAtBothEnds)
	for _, name := range []string{"shop/api", "shop/db"} {
		traffic.ServeEcho(t, pod(t, l, name).Netns)
	}
	beside, n1 := addStatic(t, l), node(t, l, "n1")
	began := time.Now()
	lost := losses(t, fmt.Sprintf("%d policies come and go", churned), beside, judgedStreams(t, l), func() { comeAndGo(t, n1, churned) })
	step := time.Since(began) / (2 * churned)
	yardstick := losses(t, fmt.Sprintf("%d bundles change nothing", 2*churned), beside, judgedStreams(t, l), func() { changeNothing(t, n1, 2*churned, step) })
	if lost > yardstick {
		t.Errorf("lost %d, and %d while bundles changed nothing", lost, yardstick)
	}
}

// changeNothing puts a flow in that is there, so many times, one each step.
func changeNothing(t *testing.T, n lab.NodeListing, times int, step time.Duration) {
	t.Helper()
	conn, err := openflow.Dial(t.Context(), filepath.Join(n.OVSRunDir, "br-sluice.mgmt"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	change := openflow.Change{Add: []flows.Flow{ofPipeline(t, conn)}}
	tick := time.NewTicker(step)
	defer tick.Stop()
	for range times {
		if err := conn.Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
}

// ofPipeline is a flow of the table policies that is the same on every node.
func ofPipeline(t *testing.T, conn *openflow.Conn) flows.Flow {
	t.Helper()
	entries, err := conn.Dump(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Flow.Table == flows.Policies && e.Flow.Cookie.Kind() == flows.OwnerPipeline {
			return e.Flow
		}
	}
	t.Fatal("no flow of the table policies is the pipeline's")
	return flows.Flow{}
}

// atOnce is how many of the policies that come and go are there at a time.
const atOnce = 20

// comeAndGo adds unrelated policies one by one, and takes the oldest away as soon as enough are there;
// each change is in force before the next.
func comeAndGo(t *testing.T, n lab.NodeListing, policies int) {
	t.Helper()
	file := func(i int) string { return filepath.Join(n.ManifestsDir, fmt.Sprintf("unrelated-%d.yaml", i)) }
	for i := range policies + atOnce {
		if i < policies {
			changesInput(t, n, func() error {
				if err := os.WriteFile(file(i)+".new", []byte(unrelated(i)), 0o600); err != nil {
					return err
				}
				return os.Rename(file(i)+".new", file(i))
			})
		}
		if i == atOnce {
			blocks := 0
			for _, f := range flowsOf(t, n) {
				if f.Table == int(flows.Policies) {
					blocks++
				}
			}
			if blocks < atOnce {
				t.Errorf("%d flows in the table policies, of %d policies", blocks, atOnce)
			}
		}
		if i >= atOnce {
			changesInput(t, n, func() error { return os.Remove(file(i - atOnce)) })
		}
	}
}

// changesInput returns when what a node's input has been changed to is in force.
func changesInput(t *testing.T, n lab.NodeListing, change func() error) {
	t.Helper()
	before := statusOf(t, n).Input.Seen
	if err := change(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the input is in force", func() error {
		if in := statusOf(t, n).Input; in.Seen == before || in.Seen != in.Installed {
			return fmt.Errorf("seen %s, installed %s, %v", in.Seen, in.Installed, in.Errors)
		}
		return nil
	})
}
