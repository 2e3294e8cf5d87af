package state_test

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cni/sluice/flows/state"
)

func TestWhichHostPortsOverlap(t *testing.T) {
	port := func(s string) state.HostPort {
		h, err := state.ParseHostPort(s)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"80:80/TCP", "80:81/TCP", true},
		{"80:80/TCP", "81:80/TCP", false},
		{"80:80/TCP", "80:80/UDP", false},
		{"80:80/TCP", "10.9.0.1:80:80/TCP", true},
		{"80:80/TCP", "[fd09::1]:80:80/TCP", true},
		{"0.0.0.0:80:80/TCP", "10.9.0.1:80:80/TCP", true},
		{"0.0.0.0:80:80/TCP", "[::]:80:80/TCP", false},
		{"10.9.0.1:80:80/TCP", "10.9.0.1:80:81/TCP", true},
		{"10.9.0.1:80:80/TCP", "127.0.0.1:80:80/TCP", false},
		{"10.9.0.1:80:80/TCP", "[fd09::1]:80:80/TCP", false},
	} {
		if a, b := port(c.a), port(c.b); a.Overlaps(b) != c.want || b.Overlaps(a) != c.want {
			t.Errorf("%s and %s: want %v", c.a, c.b, c.want)
		}
	}
}

func TestAHostPortIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := state.HostPort{
			Protocol: rapid.SampledFrom([]state.Protocol{state.TCP, state.UDP, state.SCTP}).Draw(t, "protocol"),
			Port:     rapid.Uint16().Draw(t, "port"), PodPort: rapid.Uint16().Draw(t, "pod port"),
			Address: rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1"), netip.IPv6Unspecified()}).Draw(t, "address"),
		}
		if got, err := state.ParseHostPort(want.String()); err != nil || got != want {
			t.Fatalf("%s is read as %+v, %v", want, got, err)
		}
	})
	for _, s := range []string{"", "80/TCP", "80:80", "80:80/ICMP", "80:99999/TCP", "a:80/TCP", "10.9.0:80:80/TCP", ":80/TCP", "80:/TCP"} {
		if h, err := state.ParseHostPort(s); err == nil {
			t.Errorf("%q is read as %+v", s, h)
		}
	}
}
