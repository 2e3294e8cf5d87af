package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
)

// TestPeersKeepNoPolicyWaiting: in a large cluster there is always a pod that comes or goes, and backends with it.
func TestPeersKeepNoPolicyWaiting(t *testing.T) {
	now := time.Now()
	ago := func(ms int) time.Time { return now.Add(-time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		name                      string
		wanted                    []anew
		peers, backends, policies time.Time // when it was purged for them last
		kinds                     []int
		wait                      time.Duration
	}{
		{"nothing", nil, ago(5000), ago(5000), ago(5000), nil, 0},
		{"peers", []anew{peersAnew}, ago(5000), ago(5000), ago(5000), []int{0}, 0},
		{"peers that changed just now", []anew{peersAnew}, ago(400), ago(5000), ago(5000), nil, 600 * time.Millisecond},
		{"a backend after peers", []anew{backendsAnew}, ago(400), ago(5000), ago(5000), []int{1, 0}, 0},
		{"a policy after peers and a backend", []anew{policiesAnew}, ago(400), ago(300), ago(5000), []int{2, 1, 0}, 0},
		{"a policy after another", []anew{policiesAnew}, ago(400), ago(5000), ago(300), nil, 700 * time.Millisecond},
		{"peers after a policy", []anew{policiesAnew, peersAnew}, ago(100), ago(100), ago(300), nil, 700 * time.Millisecond},
		{"peers and a backend while a policy waits", []anew{policiesAnew, backendsAnew, peersAnew}, ago(1100), ago(1100), ago(300), []int{1, 0}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPurger(t.TempDir(), nil)
			for _, what := range c.wanted {
				p.kick("netdev", what)
			}
			_, kinds, wait := p.due([kindsAnew]time.Time{c.peers, c.backends, c.policies}, now)
			if !slices.Equal(kinds, c.kinds) || wait != c.wait {
				t.Errorf("for %v, or wait %s", kinds, wait)
			}
		})
	}
}

func TestWhatBindsOtherwise(t *testing.T) {
	of := func(kind flows.OwnerKind, name string, table flows.TableID) *render.Owned {
		return &render.Owned{Owner: flows.Owner{Kind: kind, Name: name}, Flows: []flows.Flow{{Table: table}}}
	}
	service := func(buckets ...uint32) *render.Owned {
		o := &render.Owned{Owner: flows.Owner{Kind: flows.OwnerService, Name: "a/s"}, Groups: []flows.Group{{ID: 7}}}
		for _, id := range buckets {
			o.Groups[0].Buckets = append(o.Groups[0].Buckets, flows.Bucket{ID: id})
		}
		return o
	}
	peer, policy, pod := of(flows.OwnerIdentity, "a/b", flows.Addresses), of(flows.OwnerPolicy, "a/p", flows.Policies), of(flows.OwnerPod, "a/b", flows.Classify)
	for _, c := range []struct {
		name          string
		before, after []*render.Owned
		want          anew
	}{
		{"nothing", []*render.Owned{pod, policy, peer}, []*render.Owned{pod, policy, peer}, nothingAnew},
		{"a peer comes", []*render.Owned{policy}, []*render.Owned{policy, peer}, peersAnew},
		{"a peer and a policy go", []*render.Owned{policy, peer}, nil, policiesAnew},
		{"a pod that no policy selects goes", []*render.Owned{pod}, nil, nothingAnew},
		{"a backend comes", []*render.Owned{service(1, 2)}, []*render.Owned{service(1, 2, 3)}, nothingAnew},
		{"a backend goes, another comes", []*render.Owned{service(1, 2)}, []*render.Owned{service(1, 3)}, backendsAnew},
		{"a Service goes", []*render.Owned{service(1)}, nil, backendsAnew},
		{"a Service comes", nil, []*render.Owned{service(1)}, nothingAnew},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := bindsOtherwise(c.before, c.after); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
