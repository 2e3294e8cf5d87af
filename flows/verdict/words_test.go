package verdict_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/flows/verdict"
)

func TestTheReasonIsInWords(t *testing.T) {
	s := read(t, "testdata/cluster.yaml", policies(t,
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchExpressions: [{key: app, operator: In, values: [web, x]}]}}], ports: [{port: sql}]}, {from: [{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.9.0/24]}}], ports: [{port: 1, endPort: 9}, {protocol: UDP}]}]}
		 shop {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0}}]}]}
		 dev {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: 5432}]}]}`))
	v := verdict.Judge(s, connection(t, s, "dev/web", "shop/db", "5432/TCP"))
	var got strings.Builder
	for _, side := range []verdict.Side{v.Egress, v.Ingress} {
		got.WriteString(side.Pod + ": " + side.Reason + "\n")
		for _, o := range side.Policies {
			for _, r := range o.Rules {
				got.WriteString("  " + o.Policy + ": " + r.Why + "\n")
			}
		}
	}
	const want = `dev/web: dev/p2 spec.egress[0] allows it
  dev/p2: to all pods in all namespaces, port 5432/TCP
shop/db: isolated for ingress by shop/p0, shop/p1 (which cannot be understood: spec.ingress[0].from[0].ipBlock.cidr: "10.0.0.0" is no CIDR, expected one like 10.0.0.0/8 or 2001:db8::/32), and no rule allows it
  shop/p0: dev/web is none of its peers: pods with app in (web,x) in namespaces with team=a
  shop/p0: 5432/TCP is none of its ports: 1-9/TCP, any/UDP
`
	if got.String() != want {
		t.Errorf("got:\n%swant:\n%s", got.String(), want)
	}
}

// What is plugged in here has its address until it is unplugged, whatever Pods say.
func TestAttachmentsHaveTheirAddresses(t *testing.T) {
	s := read(t, "testdata/cluster.yaml", policies(t,
		`shop {podSelector: {matchLabels: {app: web}}}
		 new {podSelector: {}}
		 shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`))
	plug := func(name, uid, address string, created int64) {
		s.Attachments = append(s.Attachments, state.Attachment{
			ContainerID: name + uid, PodNamespace: "shop", PodName: name, PodUID: uid, Addresses: []netip.Addr{netip.MustParseAddr(address)}, Created: created,
		})
	}
	s.Pods = append(s.Pods,
		state.Pod{Namespace: "shop", Name: "young", UID: "u", Labels: map[string]string{"app": "web"}},
		state.Pod{Namespace: "shop", Name: "again", UID: "new", Labels: map[string]string{"app": "web"}},
		state.Pod{Namespace: "shop", Name: "again", UID: "old", Deleting: true},
	)
	plug("job", "", "10.244.1.20", 0)
	plug("young", "u", "10.244.1.21", 0)
	plug("again", "old", "10.244.1.22", 0)
	plug("unheard", "", "10.244.1.23", 0)
	plug("young", "u", "10.244.1.24", 1)
	plug("db", "", "10.244.1.24", 2)
	s.Attachments = append(s.Attachments, state.Attachment{ContainerID: "c", Addresses: []netip.Addr{netip.MustParseAddr("10.244.1.3")}})
	for _, c := range []struct {
		says, from, to string
		allowed        bool
	}{
		{"one that has finished is isolated until it is unplugged", "192.0.2.1", "10.244.1.20", false},
		{"and is no peer", "10.244.1.20", "10.244.1.24", false},
		{"one whose address the API does not know yet is isolated", "192.0.2.1", "10.244.1.21", false},
		{"and is a peer", "10.244.1.21", "10.244.1.24", true},
		{"one that was replaced by another of its name is what it was", "192.0.2.1", "10.244.1.22", true},
		{"of one that nobody knows the labels are not known", "192.0.2.1", "10.244.1.23", true},
		{"of two that have an address the newer has it", "192.0.2.1", "10.244.1.24", false},
		{"a container that is no pod is not selected, even if it has a pod's address", "192.0.2.1", "10.244.1.3", true},
		{"it is no peer either", "10.244.1.3", "10.244.1.24", false},
		{"and it is reached by its node like any other", "10.9.0.1", "10.244.1.20", true},
	} {
		v := verdict.Judge(s, verdict.Connection{Source: netip.MustParseAddr(c.from), Destination: netip.MustParseAddr(c.to), Protocol: state.TCP, Port: 80})
		if v.Allowed != c.allowed {
			t.Errorf("%s: egress: %s; ingress: %s", c.says, v.Egress.Reason, v.Ingress.Reason)
		}
	}
}
