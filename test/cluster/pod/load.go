package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// loaders open sessions one after the other.
	loaders = 2
	// heldSessions stay open, and are used every heldBeat.
	heldSessions = 8
	heldBeat     = 100 * time.Millisecond
	// sessionBound is how long one may take to be there, or its peer to answer.
	sessionBound = 20 * time.Second
	// mostErrors are kept.
	mostErrors = 10
)

// loaded is what a Service's client went through.
type loaded struct {
	// Answers counts the sessions that were opened, by the pod that answered; Slowest is the
	// longest that one took.
	Answers map[string]int `json:"answers"`
	Slowest time.Duration  `json:"slowest"`
	// Failed counts those that failed; Errors are the first ones'.
	Failed int      `json:"failed"`
	Errors []string `json:"errors,omitempty"`
	// Broken are held sessions that ended before their time: pod and error.
	Broken []brokenSession `json:"broken,omitempty"`
	// Held counts those that did not, by pod.
	Held map[string]int `json:"held"`
	// Datagrams were sent from one socket; Silence is the longest time without an answer,
	// LastBy the pod that answered last.
	Datagrams int           `json:"datagrams"`
	Silence   time.Duration `json:"silence"`
	LastBy    string        `json:"lastBy"`
}

type brokenSession struct {
	Pod   string `json:"pod"`
	Error string `json:"error"`
}

func loadUntilEOF(ctx context.Context, tcp, udp string) error {
	toTCP, err := resolve(ctx, tcp)
	if err != nil {
		return err
	}
	toUDP, err := resolve(ctx, udp)
	if err != nil {
		return err
	}
	l := newLoad()
	if err := l.run(untilEOF(ctx), toTCP, toUDP); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(l.loaded)
}

type load struct {
	mu sync.Mutex
	loaded
}

func newLoad() *load {
	return &load{loaded: loaded{Answers: map[string]int{}, Held: map[string]int{}}}
}

// run writes a line when all of it has begun.
func (l *load) run(ctx context.Context, tcp, udp netip.AddrPort) error {
	var held []*session
	for range heldSessions {
		s, err := open(tcp)
		if err != nil {
			return err
		}
		defer s.conn.Close()
		held = append(held, s)
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(udp))
	if err != nil {
		return err
	}
	defer conn.Close()
	begun()
	var wait sync.WaitGroup
	for _, s := range held {
		wait.Go(func() { l.hold(ctx, s) })
	}
	for range loaders {
		wait.Go(func() {
			for l.openOne(tcp); ctx.Err() == nil; l.openOne(tcp) {
				time.Sleep(beat)
			}
		})
	}
	wait.Go(func() { l.datagrams(ctx, conn) })
	wait.Wait()
	return nil
}

// session is a connection to a pod that has told its name.
type session struct {
	conn net.Conn
	from *bufio.Reader
	pod  string
}

func open(to netip.AddrPort) (*session, error) {
	conn, err := net.DialTimeout("tcp", to.String(), sessionBound)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, from: bufio.NewReader(conn)}
	if s.pod, err = s.line(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connected, and then: %w", err)
	}
	return s, nil
}

func (s *session) line() (string, error) {
	if err := s.conn.SetDeadline(time.Now().Add(sessionBound)); err != nil {
		return "", err
	}
	line, err := s.from.ReadString('\n')
	return strings.TrimSpace(line), err
}

func (l *load) openOne(to netip.AddrPort) {
	began := time.Now()
	s, err := open(to)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if l.Failed++; l.Failed <= mostErrors {
			l.Errors = append(l.Errors, fmt.Sprintf("%s after %s: %v", began.Format("15:04:05.000"), time.Since(began).Round(time.Millisecond), err))
		}
		return
	}
	s.conn.Close()
	l.Answers[s.pod]++
	l.Slowest = max(l.Slowest, time.Since(began))
}

// hold uses a session until ctx ends.
func (l *load) hold(ctx context.Context, s *session) {
	for i := 0; ctx.Err() == nil; i++ {
		text := fmt.Sprintf("%08d", i)
		_, err := io.WriteString(s.conn, text+"\n")
		back := ""
		if err == nil {
			back, err = s.line()
		}
		if err == nil && back != text {
			err = fmt.Errorf("%q came back of %q", back, text)
		}
		if err != nil {
			l.mu.Lock()
			l.Broken = append(l.Broken, brokenSession{s.pod, err.Error()})
			l.mu.Unlock()
			return
		}
		time.Sleep(heldBeat)
	}
	l.mu.Lock()
	l.Held[s.pod]++
	l.mu.Unlock()
}

// datagrams sends from one socket, and reads the answers, the last of them when ctx has ended:
// it is somebody's who is still there then.
func (l *load) datagrams(ctx context.Context, conn *net.UDPConn) {
	buffer := make([]byte, 256)
	last := time.Now()
	silent := func() {
		l.mu.Lock()
		l.Silence = max(l.Silence, time.Since(last))
		l.mu.Unlock()
	}
	for done := false; !done && time.Since(last) < sessionBound; {
		done = ctx.Err() != nil
		_, _ = conn.Write([]byte("?")) // an error is an answer to an earlier one, that nobody is there
		l.Datagrams++
		_ = conn.SetReadDeadline(time.Now().Add(heldBeat))
		n, err := conn.Read(buffer)
		if err != nil {
			done = false
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				time.Sleep(beat)
			}
			continue
		}
		silent()
		last, l.LastBy = time.Now(), strings.TrimSpace(string(buffer[:n]))
		time.Sleep(beat)
	}
	silent()
}
