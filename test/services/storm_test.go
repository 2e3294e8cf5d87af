package services

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// storm is what clients go through while backends come and go.
type storm struct {
	*node
	mu       sync.Mutex
	answered map[string]int // new connections, by backend
	slowest  time.Duration
	wrong    []string
}

func (s *storm) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// opened is how many new connections have been answered.
func (s *storm) opened() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.answered {
		n += k
	}
	return n
}

// open opens one connection after the other.
func (s *storm) open(ctx context.Context, from, network string) {
	for ctx.Err() == nil {
		began := time.Now()
		got := s.ask(from, network, virtual(network, 1, 80))
		took := time.Since(began)
		name, client, ok := strings.Cut(got, " ")
		if !ok || client == "" {
			s.fail("a new connection from %s by %s: %s after %s", from, network, got, took)
			continue
		}
		s.mu.Lock()
		s.answered[name]++
		s.slowest = max(s.slowest, took)
		s.mu.Unlock()
	}
}

// hold asks on one connection that is to stay with its backend.
func (s *storm) hold(ctx context.Context, c net.Conn, what, backend string) {
	for ctx.Err() == nil {
		if got := answerOn(c, patience); !strings.HasPrefix(got, backend+" ") {
			s.fail("%s with %s: %s", what, backend, got)
			return
		}
		time.Sleep(20 * time.Millisecond) // others want the switch, too
	}
}

// begin opens a connection to each of the backends, which are all that there are now, and holds it.
func (s *storm) begin(ctx context.Context, wait *sync.WaitGroup, from, network string, backends ...string) {
	s.t.Helper()
	missing := map[string]bool{}
	for _, b := range backends {
		missing[b] = true
	}
	for tries := 0; len(missing) > 0; tries++ {
		c, err := s.dial(from, network, virtual(network, 1, 80))
		s.must(err)
		s.t.Cleanup(func() { c.Close() })
		name, _, _ := strings.Cut(answerOn(c, patience), " ")
		if !missing[name] {
			if tries > 200 {
				s.t.Fatalf("%d connections reach none of %v", tries, missing)
			}
			continue
		}
		delete(missing, name)
		wait.Go(func() { s.hold(ctx, c, "a "+network+" connection of "+from+" that was held", name) })
	}
}

// TestAStorm: while two of four backends come and go ten times a second, and the agent is another one now and then,
// no new connection fails, and none that is there is lost or moved, those to the backends that go among them: they
// serve what they have.
func TestAStorm(t *testing.T) {
	connections, changes := 1000, 30
	if os.Getenv("SLUICE_TEST_LONG") != "" {
		connections, changes = 20000, 600
	}
	s := &storm{node: newNode(t), answered: map[string]int{}}
	s.pod("d", 5)
	all := []string{"a", "b", "c", "outside"}
	for _, backend := range all {
		s.serve(backend, 8080)
	}
	s.addService(1, all...)
	s.put()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var wait sync.WaitGroup
	for _, from := range []string{"d", "host"} {
		s.begin(ctx, &wait, from, "tcp4", all...)
		s.begin(ctx, &wait, from, "tcp6", all...)
		for _, network := range []string{"tcp4", "tcp6"} {
			wait.Go(func() { s.open(ctx, from, network) })
		}
	}
	every := time.NewTicker(100 * time.Millisecond)
	defer every.Stop()
	made, began := 0, time.Now()
	for ; made < changes || s.opened() < connections; made++ {
		s.setBackends(1, [][]string{{"a", "b"}, {"a", "b", "c"}, all, {"a", "b", "outside"}}[made%4]...)
		if made%10 == 9 {
			s.rec.Close()
			s.reconciler()
		}
		s.put()
		if time.Since(began) > 20*patience {
			break // and what was wrong tells why
		}
		<-every.C
	}
	took := time.Since(began)
	end()
	wait.Wait()
	t.Logf("%d connections in %s, %d changes, the slowest took %s: %v", s.opened(), took.Round(time.Millisecond), made, s.slowest.Round(time.Millisecond), s.answered)
	for _, w := range s.wrong {
		t.Error(w)
	}
	if s.opened() < connections || made < changes || len(s.answered) != len(all) {
		t.Errorf("%d connections of %d, %d changes of %d in %s", s.opened(), connections, made, changes, took)
	}
}
