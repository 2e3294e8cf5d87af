package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

// listener is a source that can tell, and fails while err is set.
type listener struct {
	source.Source
	told  []source.Event
	tries int
	err   error
}

func (l *listener) Tell(_ context.Context, e source.Event) error {
	l.tries++
	if l.err == nil {
		l.told = append(l.told, e)
	}
	return l.err
}

// heard are the names of those who were told.
func (l *listener) heard() (names []string) {
	for _, e := range l.told {
		names = append(names, e.About.Name)
	}
	return names
}

// telling is a teller of the node n1, and its log.
func telling(src source.Source) (*conflicts, *bytes.Buffer) {
	var text bytes.Buffer
	return newConflicts("n1", src, slog.New(slog.NewTextHandler(&text, nil))), &text
}

// pass is what follows on a pass after which the conflicts stand.
func pass(t *testing.T, c *conflicts, list ...claims.Conflict) {
	t.Helper()
	c.stand(state.State{Node: "n1"}, list)
	c.look(t.Context(), false)
}

func aboutPod(name string) claims.Conflict {
	return claims.Conflict{
		On: claims.OnAddress, Key: "10.244.1.2",
		Loser:  claims.Object{Kind: claims.KindPod, Namespace: "default", Name: name, UID: "u1"},
		Winner: claims.Object{Kind: claims.KindPod, Namespace: "default", Name: "winner", UID: "u2"},
	}
}

func aboutNode(loser, winner string) claims.Conflict {
	return claims.Conflict{
		On: claims.OnPodCIDR, Key: "10.244.1.0/24",
		Loser: claims.Object{Kind: claims.KindNode, Name: loser}, Winner: claims.Object{Kind: claims.KindNode, Name: winner},
	}
}

func TestALoserIsToldOnceForAsLongAsItsConflictStands(t *testing.T) {
	l := &listener{}
	c, _ := telling(l)
	a, b := aboutPod("a"), aboutPod("b")
	for range 3 {
		pass(t, c, a)
	}
	pass(t, c, a, b)
	pass(t, c, b) // a has gone,
	pass(t, c, b, a)
	if got, want := l.heard(), []string{"a", "b", "a"}; !slices.Equal(got, want) { // and came back
		t.Errorf("told %v, want %v", got, want)
	}
}

func TestALoserIsToldWhoWins(t *testing.T) {
	port, mac := aboutPod("a"), aboutPod("a")
	port.On, port.Key = claims.OnPort, "258"
	mac.On, mac.Key, mac.Winner = claims.OnMAC, "0a:58", claims.Object{}
	crowd := aboutPod("a")
	crowd.On, crowd.Key, crowd.Winner = claims.OnPolicies, "1801 for Ingress", claims.Object{}
	fault := claims.Conflict{
		On: claims.OnFault, Key: "spec.podSelector: no operator",
		Loser: claims.Object{Kind: claims.KindPolicy, Namespace: "shop", Name: "p", UID: "u3"},
	}
	hostPort := aboutPod("a")
	hostPort.On, hostPort.Key = claims.OnHostPort, "8080/TCP"
	taken := claims.Conflict{
		On: claims.OnServiceAddress, Key: "10.96.0.1:80/TCP",
		Loser:  claims.Object{Kind: claims.KindService, Namespace: "shop", Name: "new"},
		Winner: claims.Object{Kind: claims.KindService, Namespace: "shop", Name: "old"},
	}
	for _, c := range []struct {
		conflict     claims.Conflict
		reason, note string
	}{
		{aboutNode("n1", "n2"), "PodCIDRTaken", "podCIDR 10.244.1.0/24 is Node n2's"},
		{aboutPod("a"), "AddressTaken", "address 10.244.1.2 is Pod default/winner's"},
		{port, "PortTaken", "OpenFlow port 258 is Pod default/winner's"},
		{hostPort, "HostPortTaken", "host port 8080/TCP is Pod default/winner's"},
		{mac, "BadMAC", "the MAC 0a:58"},
		{taken, "ServiceAddressTaken", "10.96.0.1:80/TCP is Service shop/old's"},
		{crowd, "TooManyPolicies", "more policies select this Pod (1801 for Ingress)"},
		{fault, "BadPolicy", "this NetworkPolicy cannot be understood and allows nothing to the pods that it selects: spec.podSelector: no operator"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			l := &listener{}
			teller, _ := telling(l)
			pass(t, teller, c.conflict)
			if len(l.told) != 1 {
				t.Fatalf("told %+v", l.told)
			}
			e := l.told[0]
			if e.About != c.conflict.Loser || e.Other != c.conflict.Winner || e.Node != "n1" || e.Reason != c.reason || !strings.HasPrefix(e.Note, c.note) {
				t.Errorf("told %+v", e)
			}
		})
	}
}

func TestNobodyIsToldOfWhatConcernsNobody(t *testing.T) {
	container, self := aboutPod("a"), aboutPod("a")
	container.Loser = claims.Object{Kind: claims.KindContainer, Name: "sluice/c1/eth0"}
	self.Winner = self.Loser // an older sandbox of the same pod
	l := &listener{}
	c, _ := telling(l)
	pass(t, c, container, self)
	if l.tries > 0 || c.Problem() != "" {
		t.Errorf("told %+v, problem %q", l.told, c.Problem())
	}
}

func TestWhatCannotBeToldIsTriedAgainAndNamedMeanwhile(t *testing.T) {
	l := &listener{err: errors.New("no right to")}
	c, text := telling(l)
	for range 3 {
		pass(t, c, aboutPod("a"))
	}
	if l.tries != 1 {
		t.Errorf("tried %d times at once", l.tries)
	}
	c.look(t.Context(), true)
	if l.tries != 2 || c.Problem() != "no right to" || strings.Count(text.String(), "no right to") != 1 {
		t.Errorf("tried %d times, problem %q, log:\n%s", l.tries, c.Problem(), text)
	}
	l.err = nil
	c.look(t.Context(), true)
	if len(l.told) != 1 || c.Problem() != "" {
		t.Errorf("told %+v, problem %q", l.told, c.Problem())
	}
}

func TestATroubleIsOverWithItsConflict(t *testing.T) {
	c, _ := telling(&listener{err: errors.New("no right to")})
	pass(t, c, aboutPod("a"))
	pass(t, c)
	if c.Problem() != "" {
		t.Errorf("problem %q", c.Problem())
	}
}

func TestWithoutAnAPIAConflictIsLoggedOnce(t *testing.T) {
	c, text := telling(struct{ source.Source }{})
	for range 3 {
		pass(t, c, aboutPod("a"))
	}
	if n := strings.Count(text.String(), "default/a loses it"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, text)
	}
	pass(t, c)
	if !strings.Contains(text.String(), "a conflict is over") || c.Problem() != "" {
		t.Errorf("problem %q, log:\n%s", c.Problem(), text)
	}
}

func TestANodeThatLosesItsAgentIsToldByTheWinners(t *testing.T) {
	l := &listener{}
	c, text := telling(l)
	list := []claims.Conflict{aboutNode("n2", "n1")}
	for _, ready := range []bool{true, false, false, true} {
		c.stand(state.State{Node: "n1", Nodes: []state.Node{{Name: "n2", Ready: ready}}}, list)
		c.look(t.Context(), false)
	}
	if got := l.heard(); !slices.Equal(got, []string{"n2"}) {
		t.Errorf("told %v", got)
	}
	if n := strings.Count(text.String(), "loses it"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, text)
	}
}

func TestWhoTells(t *testing.T) {
	s := state.State{Node: "n1", Nodes: []state.Node{{Name: "n1", Ready: true}, {Name: "ready", Ready: true}, {Name: "away"}}}
	for _, c := range []struct {
		conflict claims.Conflict
		want     bool
	}{
		{aboutPod("a"), true},
		{aboutNode("n1", "ready"), true},
		{aboutNode("ready", "n1"), false},
		{aboutNode("away", "n1"), true},
		{aboutNode("away", "ready"), false},
		{aboutNode("unknown", "n1"), false},
	} {
		t.Run(fmt.Sprint(c.conflict), func(t *testing.T) {
			if got := tells(s, c.conflict); got != c.want {
				t.Errorf("n1 tells: %v", got)
			}
		})
	}
}
