package claims_test

import (
	"net/netip"
	"testing"

	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
	"pgregory.net/rapid"
)

func TestWhoWins(t *testing.T) {
	node := func(name string, ready, deleting bool, created int64) claims.Standing {
		return claims.OfNode(state.Node{Name: name, Ready: ready, Deleting: deleting, Created: created, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	}
	unreported := claims.OfNode(state.Node{Name: "c", Created: 3})
	pod := func(name string, finished bool, created int64) claims.Standing {
		return claims.OfPod(state.Pod{Namespace: "d", Name: name, Finished: finished, Created: created})
	}
	hostPort := func(name string, leaving bool, created int64) claims.Standing {
		return claims.OfHostPort(state.Attachment{PodNamespace: "d", PodName: name, Created: created}, leaving)
	}
	for _, c := range []struct {
		name          string
		winner, loser claims.Standing
	}{
		{"a host port: a living pod before one that goes", hostPort("b", false, 2), hostPort("a", true, 1)},
		{"a host port: the older pod before a newcomer", hostPort("b", false, 1), hostPort("a", false, 2)},
		{"a living node before one that is being deleted", node("b", false, false, 1), node("a", true, true, 2)},
		{"a ready node before one that is not", node("b", true, false, 1), node("a", false, false, 2)},
		{"a node that is not ready just now before a newer one of which no kubelet has reported", node("a", false, false, 1), unreported},
		{"the newer node, a replacement, before its predecessor", node("b", true, false, 2), node("a", true, false, 1)},
		{"by name where all else is equal", node("a", true, false, 1), node("b", true, false, 1)},
		{"a living pod before a finished one", pod("b", false, 1), pod("a", true, 2)},
		{"the newer pod before the older", pod("b", false, 2), pod("a", false, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, order := range [][2]claims.Standing{{c.winner, c.loser}, {c.loser, c.winner}} {
				var b claims.Book[string]
				b.Claim("key", order[0])
				b.Claim("key", order[1])
				if !b.Holds("key", c.winner) || b.Holds("key", c.loser) || b.Holder("key") != c.winner.Of {
					t.Errorf("holder is %v, want %v", b.Holder("key"), c.winner.Of)
				}
			}
		})
	}
}

func TestTheOrderOfClaimsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		standing := rapid.Custom(func(t *rapid.T) claims.Standing {
			return claims.Standing{
				Leaving: rapid.Bool().Draw(t, "leaving"), Nowhere: rapid.Bool().Draw(t, "nowhere"), Unready: rapid.Bool().Draw(t, "unready"),
				Seniority: rapid.Int64Range(0, 3).Draw(t, "seniority"), Name: rapid.StringMatching("[ab]").Draw(t, "name"),
			}
		})
		list := rapid.SliceOfN(standing, 1, 6).Draw(t, "claims")
		var a, b claims.Book[int]
		for _, s := range list {
			a.Claim(1, s)
		}
		for _, s := range rapid.Permutation(list).Draw(t, "other order") {
			b.Claim(1, s)
		}
		for _, s := range list {
			if a.Holds(1, s) != b.Holds(1, s) {
				t.Fatalf("%+v holds in one order and not in the other", s)
			}
		}
	})
}
