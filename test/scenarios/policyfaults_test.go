package scenarios

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows/policy"
	"github.com/sluice-cni/sluice/test/lab"
)

// TestAPolicyThatCannotBeServedDenies the pods that it selects, and nobody else, and the agent
// says so by its status and its log.
func TestAPolicyThatCannotBeServedDenies(t *testing.T) {
	l := up(t, lab.Options{Nodes: 1, Objects: []lab.Object{}})
	n1 := node(t, l, "n1")
	pods := documents(podObject("db"), podObject("web"), podObject("api"))
	known(t, n1, pods)
	sandboxes := map[string]string{}
	addresses := map[string]string{"db": "10.244.1.50", "web": "10.244.1.51", "api": "10.244.1.52"}
	for name, address := range addresses {
		namespace, add := sandboxOf(t, name, address)
		added(t, n1, add)
		t.Cleanup(func() { deleted(t, n1, add) })
		sandboxes[name] = namespace
	}
	toDB, toAPI := sink(t, sandboxes["db"]), sink(t, sandboxes["api"])
	tries := hammer(t, sandboxes["web"], netip.MustParseAddr(addresses["db"]))
	hammer(t, sandboxes["web"], netip.MustParseAddr(addresses["api"]))
	broken := func(spec string) string { return object("NetworkPolicy", "broken", spec) }
	for _, c := range []struct{ name, policies, says string }{
		{
			"a CIDR that is none, beside a rule that would allow",
			broken(`{podSelector: {matchLabels: {app: db}}, ingress: [{}, {from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}`),
			`NetworkPolicy shop/broken cannot be understood and allows nothing: spec.ingress[1].from[0].ipBlock.cidr: "10.0.0.0/33" is no CIDR`,
		},
		{
			"an operator of a peer that there is not",
			broken(`{podSelector: {matchLabels: {app: db}}, ingress: [{}, {from: [{podSelector: {matchExpressions: [{key: app, operator: Like, values: [w]}]}}]}]}`),
			"NetworkPolicy shop/broken cannot be understood and allows nothing: spec.ingress[1].from[0].podSelector:",
		},
		{
			"a port that is none",
			broken(`{podSelector: {matchLabels: {app: db}}, ingress: [{}, {ports: [{port: 70000}]}]}`),
			"NetworkPolicy shop/broken cannot be understood and allows nothing: spec.ingress[1].ports[0].port: 70000 is no port",
		},
		{
			"too many policies that would all allow",
			crowd(policy.MaxPolicies + 1),
			fmt.Sprintf("pod shop/db: selected by too many policies (%d for Ingress)", policy.MaxPolicies+1),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			more(t, "it comes through before", toDB, 10)
			known(t, n1, documents(pods, c.policies))
			silent(t, "the pod is denied", toDB.Load)
			before := toDB.Load()
			more(t, "it is tried", tries, 300)
			if got := toDB.Load() - before; got > 0 {
				t.Errorf("%d datagrams came through", got)
			}
			more(t, "others are not meant", toAPI, 100)
			says(t, l, n1, c.says)
			known(t, n1, pods)
			more(t, "it comes through afterwards", toDB, 10)
			if got := statusOf(t, n1).Problems; len(got) > 0 {
				t.Errorf("problems afterwards: %q", got)
			}
		})
	}
	t.Run("an operator of its own selector: then it selects all of its namespace", func(t *testing.T) {
		known(t, n1, documents(pods, broken(`{podSelector: {matchExpressions: [{key: app, operator: Like, values: [d]}]}, ingress: [{}]}`)))
		silent(t, "all pods are denied", func() int64 { return toDB.Load() + toAPI.Load() })
		says(t, l, n1, "NetworkPolicy shop/broken cannot be understood and allows nothing: spec.podSelector:")
	})
}

// crowd are n policies that each allow everything to the pod db.
func crowd(n int) string {
	var list []string
	for i := range n {
		list = append(list, object("NetworkPolicy", fmt.Sprintf("p%d", i), "{podSelector: {matchLabels: {app: db}}, ingress: [{}]}"))
	}
	return documents(list...)
}

// silent waits until a count does not change any more, no longer than a policy may take to bind.
func silent(t *testing.T, what string, count func() int64) {
	t.Helper()
	within(t, bindsWithin, what, func() error {
		before := count()
		time.Sleep(100 * time.Millisecond)
		if got := count() - before; got > 0 {
			return fmt.Errorf("%d in 100 ms", got)
		}
		return nil
	})
}

// says fails the test unless the node's status has a problem that begins with a text, and its
// agent's log has the text.
func says(t *testing.T, l *lab.Lab, n lab.NodeListing, text string) {
	t.Helper()
	found := false
	problems := statusOf(t, n).Problems
	for _, p := range problems {
		found = found || strings.HasPrefix(p, text)
	}
	if !found {
		t.Errorf("problems %q, none begins with %q", problems, text)
	}
	path, err := l.LogFile(n.Name, lab.Agent)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log says so", func() error {
		log, err := os.ReadFile(path)
		if err == nil && !strings.Contains(strings.ReplaceAll(string(log), `\"`, `"`), text) {
			return fmt.Errorf("the log lacks %q", text)
		}
		return err
	})
}
