package scenarios

import (
	"testing"
	"time"

	"github.com/sluice-cni/sluice/test/slow"
	"github.com/sluice-cni/sluice/test/traffic"
)

// bindsWithin is how soon a policy is in force for connections that are there already.
const bindsWithin = time.Second

const denyIngress = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}}
`

const denyEgress = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}
`

const noPolicy = `
apiVersion: v1
kind: Namespace
metadata: {name: unrelated}
`

// TestAPolicyBindsLiveConnections: streams that are open are cut by a policy at either end, those
// of others lose nothing, and what is opened after the policy has gone passes.
func TestAPolicyBindsLiveConnections(t *testing.T) {
	l := recipeLab(t, "")
	web, db, api := pod(t, l, "shop/web"), pod(t, l, "shop/db"), pod(t, l, "shop/api")
	traffic.ServeEcho(t, db.Netns)
	traffic.ServeEcho(t, api.Netns)
	for _, c := range []struct{ name, policy string }{{"ingress of the responder", denyIngress}, {"egress of the opener", denyEgress}} {
		t.Run(c.name, func(t *testing.T) {
			cut := []*traffic.Stream{
				traffic.Connect(t, "UDP", "udp4", web.Netns, db.Addresses[0]),
				traffic.Connect(t, "TCP", "tcp4", web.Netns, db.Addresses[0]),
				traffic.Ping(t, "ping", web.Netns, db.Addresses[0]),
			}
			other := traffic.Connect(t, "of others", "udp4", db.Netns, api.Addresses[0])
			for _, s := range append(cut, other) {
				s.Begin()
			}
			time.Sleep(300 * time.Millisecond) // they run before
			knownToBoth(t, l, c.policy)
			allowed := slow.Bound(bindsWithin)
			until := time.Now().Add(allowed)
			time.Sleep(2 * allowed)
			for _, s := range cut {
				silentAfter(t, s, until)
			}
			other.End(t)
			knownToBoth(t, l, noPolicy)
			again := traffic.Connect(t, "TCP again", "tcp4", web.Netns, db.Addresses[0])
			again.Begin()
			time.Sleep(300 * time.Millisecond)
			again.End(t)
		})
	}
}

// silentAfter ends a stream, and fails the test for what of it came back that was sent after
// the bound.
func silentAfter(t *testing.T, s *traffic.Stream, bound time.Time) {
	t.Helper()
	r := s.Finish()
	if len(r.Lost) == r.Sent {
		t.Errorf("%s: nothing came back before the policy", s.Name)
	}
	if sent, lost := r.After(bound); sent < 10 || lost != sent {
		t.Errorf("%s: %d of %d came back that were sent after the policy", s.Name, sent-lost, sent)
	}
}
