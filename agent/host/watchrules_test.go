package host_test

import (
	"context"
	"testing"
	"time"

	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/slow"
)

// TestChangesOfOurRulesAreToldOf, and others' are not.
func TestChangesOfOurRulesAreToldOf(t *testing.T) {
	ns := ovstest.NewNamespace(t)
	changed := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go ns.Do(func() { done <- host.WatchRules(ctx, changed) })
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	ns.Do(func() {
		run(t, "nft add table inet other")
		for { // until it listens
			run(t, "nft add table inet sluice; nft delete table inet sluice")
			select {
			case <-changed:
			case <-time.After(slow.Bound(100 * time.Millisecond)):
				continue
			}
			break
		}
		quiet := func() bool {
			select {
			case <-changed:
				return false
			case <-time.After(slow.Bound(100 * time.Millisecond)):
				return true
			}
		}
		for !quiet() { // the last of the above
		}
		for _, c := range []struct {
			do   string
			ours bool
		}{
			{"nft add table inet sluice", true},
			{"nft add chain inet sluice leaving", true},
			{"nft add rule inet sluice leaving counter", true},
			{"nft add set inet sluice cluster4 '{ type ipv4_addr; }'", true},
			{"nft add element inet sluice cluster4 '{ 10.0.0.1 }'", true},
			{"nft add chain inet other c; nft add rule inet other c counter", false},
			{"nft add table ip sluices", false},
			{"nft flush chain inet sluice leaving", true},
			{"nft delete element inet sluice cluster4 '{ 10.0.0.1 }'", true},
			{"nft delete table inet other", false},
			{"nft flush ruleset", true},
		} {
			run(t, c.do)
			if told := !quiet(); told != c.ours {
				t.Errorf("%s: told %v, want %v", c.do, told, c.ours)
			}
			for !quiet() {
			}
		}
	})
}

func TestChangesOfForwardingAreToldOf(t *testing.T) {
	ns := ovstest.NewNamespace(t)
	changed := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go ns.Do(func() { done <- host.WatchSettings(ctx, changed) })
	ns.Do(func() {
		end := time.Now().Add(slow.Bound(10 * time.Second))
		for told := false; !told; { // until it listens
			run(t, "sysctl -qw net.ipv4.ip_forward=1; sysctl -qw net.ipv4.ip_forward=0")
			select {
			case <-changed:
				told = true
			case <-time.After(20 * time.Millisecond):
				if time.Now().After(end) {
					t.Fatal("nothing is told")
				}
			}
		}
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
