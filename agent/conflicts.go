package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/claims"
	"github.com/sluice-cni/sluice/flows/state"
)

const (
	// tellBound is the longest that telling one event may take.
	tellBound = 10 * time.Second
	// tellAgain is when what could not be told is tried again.
	tellAgain = 30 * time.Second
)

// conflicts tells those who lose a claim of it, once for as long as the conflict stands.
type conflicts struct {
	log  *slog.Logger
	node string
	// teller is nil where nobody can be told: then there is only the log.
	teller source.Teller
	kicks  chan struct{}
	// logged are those that stand and are in the log. Told are those that were tried to be
	// told, true if the loser was. Both are the loop's.
	logged, told map[claims.Conflict]bool

	mu       sync.Mutex
	state    state.State
	standing []claims.Conflict
	problem  string // why something could not be told
}

// newConflicts makes one for this node; src may be a source.Teller.
func newConflicts(node string, src source.Source, log *slog.Logger) *conflicts {
	c := &conflicts{
		log: log, node: node, kicks: make(chan struct{}, 1),
		logged: map[claims.Conflict]bool{}, told: map[claims.Conflict]bool{},
	}
	c.teller, _ = src.(source.Teller)
	return c
}

// stand takes over what stands after a pass. It does not wait.
func (c *conflicts) stand(s state.State, list []claims.Conflict) {
	c.mu.Lock()
	changed := len(list) > 0 || len(c.standing) > 0
	c.state, c.standing = s, list
	c.mu.Unlock()
	if changed {
		poke(c.kicks)
	}
}

// Problem is why the losers could not be told, empty if they were.
func (c *conflicts) Problem() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problem
}

// now are the conflicts that stand, and those of them that this node tells of.
func (c *conflicts) now() (standing, ours []claims.Conflict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.standing {
		if tells(c.state, f) {
			ours = append(ours, f)
		}
	}
	return c.standing, ours
}

// tells decides who tells of a conflict, so that not every node does. A Pod is told by
// its own node's agent; containers that lose are this node's own. A Node is told by its
// own agent, and if it is not Ready, and so may have none, by the winner's. A Service, of
// which every node knows, is told by the first Ready node by name.
func tells(s state.State, c claims.Conflict) bool {
	if c.Loser.Kind == claims.KindPod {
		return !slices.ContainsFunc(s.Pods, func(p state.Pod) bool {
			return p.Namespace == c.Loser.Namespace && p.Name == c.Loser.Name && p.UID == c.Loser.UID && p.Node != s.Node
		})
	}
	if c.Loser.Kind == claims.KindService {
		first := firstReady(s)
		return first == "" || first == s.Node
	}
	if c.Loser.Kind != claims.KindNode || c.Loser.Name == s.Node {
		return true
	}
	i := slices.IndexFunc(s.Nodes, func(n state.Node) bool { return n.Name == c.Loser.Name })
	return c.Winner.Name == s.Node && i >= 0 && !s.Nodes[i].Ready
}

// firstReady is the first Ready node by name, empty if none is.
func firstReady(s state.State) string {
	first := ""
	for _, n := range s.Nodes {
		if n.Ready && (first == "" || n.Name < first) {
			first = n.Name
		}
	}
	return first
}

// loop tells of each conflict when it comes up.
func (c *conflicts) loop(ctx context.Context) error {
	retry := time.NewTicker(tellAgain)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.kicks:
			c.look(ctx, false)
		case <-retry.C:
			c.look(ctx, true)
		}
	}
}

// look tells of what has come up since it was last called, and again of what could not be
// told if it is time for that.
func (c *conflicts) look(ctx context.Context, again bool) {
	standing, ours := c.now()
	c.report(standing)
	maps.DeleteFunc(c.told, func(f claims.Conflict, _ bool) bool { return !slices.Contains(ours, f) })
	untold := slices.DeleteFunc(ours, func(f claims.Conflict) bool { return c.told[f] || !c.tellable(f) })
	fresh := func(f claims.Conflict) bool { _, tried := c.told[f]; return !tried }
	switch {
	case len(untold) == 0:
		c.trouble("")
	case again || slices.ContainsFunc(untold, fresh):
		c.trouble(c.tellAll(ctx, untold))
	}
}

// report logs what is over and what has come up.
func (c *conflicts) report(standing []claims.Conflict) {
	for f := range c.logged {
		if !slices.Contains(standing, f) {
			delete(c.logged, f)
			c.log.Info("a conflict is over", "conflict", f.String())
		}
	}
	for _, f := range standing {
		if !c.logged[f] {
			c.logged[f] = true
			c.log.Warn("a claim is not served", "conflict", f.String(), "winner", f.Winner.String())
		}
	}
}

func (c *conflicts) tellable(f claims.Conflict) bool {
	_, ok := event(f, c.node)
	return ok && c.teller != nil
}

// tellAll tells the losers, up to the first that cannot be told: the next would fail
// alike, and take as long. It returns why.
func (c *conflicts) tellAll(ctx context.Context, untold []claims.Conflict) (problem string) {
	for _, f := range untold {
		c.told[f] = false
	}
	for _, f := range untold {
		e, _ := event(f, c.node)
		ctx, cancel := context.WithTimeout(ctx, tellBound)
		err := c.teller.Tell(ctx, e)
		cancel()
		if err != nil {
			return err.Error()
		}
		c.told[f] = true
	}
	return ""
}

// trouble keeps, and logs once, why losers are not told.
func (c *conflicts) trouble(problem string) {
	c.mu.Lock()
	known := c.problem == problem
	c.problem = problem
	c.mu.Unlock()
	if problem != "" && !known {
		c.log.Warn("those who lose a claim are not told", "error", problem)
	}
}

// event is what the loser is told; ok is false if there is nobody to tell, or if both
// are one: two sandboxes of one pod.
func event(c claims.Conflict, node string) (e source.Event, ok bool) {
	if c.Loser.Kind == claims.KindContainer || c.Loser == c.Winner {
		return e, false
	}
	e = source.Event{About: c.Loser, Other: c.Winner, Node: node}
	winner := c.Winner.Kind + " " + c.Winner.String()
	switch c.On {
	case claims.OnPodCIDR:
		e.Reason = "PodCIDRTaken"
		e.Note = "podCIDR " + c.Key + " is " + winner + "'s, which comes first; this Node is without it"
	case claims.OnAddress:
		e.Reason = "AddressTaken"
		e.Note = "address " + c.Key + " is " + winner + "'s, which comes first; this Pod gets nothing that is sent to it"
	case claims.OnPort:
		e.Reason = "PortTaken"
		e.Note = "OpenFlow port " + c.Key + " is " + winner + "'s, which is newer; this Pod has no network: delete it"
	case claims.OnHostPort:
		e.Reason = "HostPortTaken"
		e.Note = "host port " + c.Key + " is " + winner + "'s, which comes first; this Pod is not reached by it"
	case claims.OnServiceAddress:
		e.Reason = "ServiceAddressTaken"
		e.Note = c.Key + " is " + winner + "'s, which comes first; this Service is not served there"
	case claims.OnMAC:
		e.Reason = "BadMAC"
		e.Note = "the MAC " + c.Key + " in the port's external_ids is none; this Pod has no network: delete it"
	case claims.OnPolicies:
		e.Reason = "TooManyPolicies"
		e.Note = "more policies select this Pod (" + c.Key + ") than a packet can be judged by; it is denied whole in that direction"
	case claims.OnFault:
		e.Reason = "BadPolicy"
		e.Note = "this NetworkPolicy cannot be understood and allows nothing to the pods that it selects: " + c.Key
	default:
		return e, false
	}
	return e, true
}
