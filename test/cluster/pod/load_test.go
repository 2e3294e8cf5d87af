package main

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// serveSessions serves on a port of the loopback device until the test or ctx ends.
func serveSessions(ctx context.Context, t *testing.T, s *sessions) (to netip.AddrPort, ended chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() { ended <- s.serve(ctx, listener, "this") }()
	return listener.Addr().(*net.TCPAddr).AddrPort(), ended
}

func TestALoadCountsWhoAnsweredAndWhatWasHeld(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	to, _ := serveSessions(t.Context(), t, new(sessions))
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	go func() {
		buffer := make([]byte, 16)
		for {
			_, from, err := udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo([]byte("this\n"), from)
		}
	}()
	time.AfterFunc(300*time.Millisecond, cancel)
	l := newLoad()
	if err := l.run(ctx, to, udp.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
		t.Fatal(err)
	}
	if l.Answers["this"] == 0 || l.Failed > 0 || l.Held["this"] != heldSessions || len(l.Broken) > 0 || l.LastBy != "this" || l.Datagrams == 0 {
		t.Errorf("%+v", l.loaded)
	}
}

func TestALoadNamesWhatFailedAndWhatBroke(t *testing.T) {
	server, stop := context.WithCancel(t.Context())
	to, ended := serveSessions(server, t, new(sessions))
	s, err := open(to)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	<-ended
	// Of a server that has gone a session ends, and no other begins.
	if err := s.conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	l := newLoad()
	l.hold(t.Context(), s)
	l.openOne(to)
	if len(l.Broken) != 1 || l.Broken[0].Pod != "this" || l.Failed != 1 || len(l.Errors) != 1 {
		t.Errorf("%+v", l.loaded)
	}
}

func TestADrainingServerGoesOnWhileClientsCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sessions{quiet: time.Second}
		told, tell := context.WithCancel(t.Context())
		drained := s.drained(told)
		time.Sleep(time.Minute)
		tell()
		for range 10 {
			time.Sleep(s.quiet * 9 / 10)
			if drained.Err() != nil {
				t.Fatal("it ended while clients came")
			}
			s.last.Store(time.Now().UnixNano())
		}
		time.Sleep(s.quiet * 11 / 10)
		if drained.Err() == nil {
			t.Error("it goes on, though nobody comes")
		}
	})
}
