package traffic

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/test/slow"
)

// Interval is the time between two messages of a stream that sets none of its own.
const Interval = 20 * time.Millisecond

// Stream is traffic that goes on until it is ended: numbered messages, one each
// interval, each of which is to come back.
type Stream struct {
	Name string
	// Every is the time between two messages.
	Every time.Duration

	// send and receive carry one message's number; receive may return others' too.
	send    func(uint32) error
	receive func() (uint32, error)
	close   func()

	stop             context.CancelFunc
	stopped          time.Time
	sender, receiver sync.WaitGroup

	mu sync.Mutex
	// sent are the times of the messages, by their numbers.
	sent     []time.Time
	answered map[uint32]bool
	silence  time.Duration
	gaps     []Span
	broken   error
}

// gap is how long a stream without answers counts as one of its Gaps.
const gap = 10 * time.Millisecond

// Begin starts the stream's traffic.
func (s *Stream) Begin() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop, s.answered = cancel, map[uint32]bool{}
	s.sender.Go(func() {
		tick := time.NewTicker(s.Every)
		defer tick.Stop()
		for ctx.Err() == nil {
			s.mu.Lock()
			n := uint32(len(s.sent))
			s.sent = append(s.sent, time.Now())
			s.mu.Unlock()
			if err := s.send(n); err != nil {
				s.fail(err)
				return
			}
			<-tick.C
		}
	})
	s.receiver.Go(func() {
		for last := time.Now(); ; {
			n, err := s.receive()
			if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF) {
				return
			}
			if err != nil {
				s.fail(err)
				return
			}
			now := time.Now()
			s.mu.Lock()
			s.answered[n] = true
			s.silence = max(s.silence, now.Sub(last))
			if now.Sub(last) > gap {
				s.gaps = append(s.gaps, Span{last.Add(-gap), now.Add(gap)})
			}
			s.mu.Unlock()
			last = now
		}
	})
}

func (s *Stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = err
	}
}

// lost are the messages that have not come back, by when they were sent.
func (s *Stream) lost() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lost []time.Time
	for n, at := range s.sent {
		if !s.answered[uint32(n)] {
			lost = append(lost, at)
		}
	}
	return lost
}

// Span is a time in which messages may be lost; the zero value is none.
type Span struct{ From, To time.Time }

// Holds tells whether a time is within the span.
func (s Span) Holds(at time.Time) bool { return at.After(s.From) && at.Before(s.To) }

// Length of the span.
func (s Span) Length() time.Duration { return s.To.Sub(s.From) }

// Result is what became of a stream.
type Result struct {
	Sent int
	// Lost are the times at which the messages were sent that never came back.
	Lost []time.Time
	// Silence is the longest time without an answer.
	Silence time.Duration
	// Gaps are all times of 10 ms and more without an answer, and 10 ms around each.
	Gaps []Span
	// Still is how long they are together, without that; Lasted how long the stream was.
	Still, Lasted time.Duration
	// Broken is why the stream ended before it was told to.
	Broken error

	at []time.Time
}

// After counts the messages that were sent after a time, and those of them that never came back.
func (r Result) After(bound time.Time) (sent, lost int) {
	count := func(list []time.Time) (n int) {
		for _, at := range list {
			if at.After(bound) {
				n++
			}
		}
		return n
	}
	return count(r.at), count(r.Lost)
}

// Stop ends the sending; End and Finish do so too.
func (s *Stream) Stop() {
	s.stop()
	s.sender.Wait()
	if s.stopped.IsZero() {
		s.stopped = time.Now()
	}
}

// late is how long after its end a stream's last answers may come.
const late = time.Second

// Finish stops the stream, waits for what is still under way, and tells what became
// of it.
func (s *Stream) Finish() Result {
	s.Stop()
	for until := s.stopped.Add(slow.Bound(late)); len(s.lost()) > 0 && time.Now().Before(until); {
		time.Sleep(Interval)
	}
	lost := s.lost()
	s.close()
	s.receiver.Wait()
	r := Result{Sent: len(s.sent), Lost: lost, Silence: s.silence, Gaps: s.gaps, Broken: s.broken, at: s.sent}
	if len(s.sent) > 0 {
		r.Lasted = s.stopped.Sub(s.sent[0])
	}
	for _, g := range s.gaps {
		r.Still += g.Length() - 2*gap
	}
	return r
}

// End finishes the stream, and fails the test for whatever was lost, except within
// these times. It returns how many were lost then.
func (s *Stream) End(t *testing.T, except ...Span) (excused int) {
	t.Helper()
	r := s.Finish()
	Measured(t, "%s: %d of %d lost, longest silence %d ms", s.Name, len(r.Lost), r.Sent, r.Silence.Milliseconds())
	if r.Broken != nil || len(r.Lost) == r.Sent {
		t.Errorf("%s broke: %v", s.Name, r.Broken)
	}
	if unexcused := slices.DeleteFunc(slices.Clone(r.Lost), func(at time.Time) bool {
		return slices.ContainsFunc(except, func(e Span) bool { return e.Holds(at) })
	}); len(unexcused) > 0 {
		t.Errorf("%s: lost %d of %d messages", s.Name, len(unexcused), r.Sent)
		return len(r.Lost) - len(unexcused)
	}
	return len(r.Lost)
}

// Measured prints a line that is worth showing also when all is well.
func Measured(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("measured: "+t.Name()[strings.LastIndex(t.Name(), "/")+1:]+": "+format, args...)
}
