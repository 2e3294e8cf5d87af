package plug_test

import (
	"context"
	"errors"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/sluice-cni/sluice/cni/plug"
)

func TestWhatIsTakenAwayLeavesNothing(t *testing.T) {
	for name, takeAway := range map[string]func(*plug.Cable, plug.Spec) error{
		"by rollback": func(c *plug.Cable, _ plug.Spec) error { return c.Rollback() },
		"by name":     func(c *plug.Cable, s plug.Spec) error { return plug.Remove(s.HostName) },
		"by name, then again": func(c *plug.Cable, s plug.Spec) error {
			return errors.Join(plug.Remove(s.HostName), plug.Remove(s.HostName), c.Rollback())
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := onHost(t)
			s := spec(pod)
			cable := create(t, s)
			if err := cable.Configure(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := takeAway(cable, s); err != nil {
				t.Fatal(err)
			}
			if ends, err := plug.HostEnds(); err != nil || len(ends) != 0 {
				t.Errorf("the host has %+v, error %v", ends, err)
			}
			if _, err := plug.Inspect(s.NetNS, s.IfName); !errors.Is(err, plug.ErrNoInterface) {
				t.Errorf("the container: %v", err)
			}
		})
	}
}

func TestAContextThatEndedLeavesNothing(t *testing.T) {
	pod := onHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	cable := create(t, spec(pod))
	cancel()
	if err := cable.Configure(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Configure: %v", err)
	}
	if err := cable.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := plug.Create(ctx, spec(pod)); !errors.Is(err, context.Canceled) {
		t.Errorf("Create: %v", err)
	}
	if ends, err := plug.HostEnds(); err != nil || len(ends) != 0 {
		t.Errorf("the host has %+v, error %v", ends, err)
	}
}

func TestStrangersLinksAreNoHostEnds(t *testing.T) {
	onHost(t)
	for _, link := range []netlink.Link{
		&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "slcfeedfacecafe"}},
		&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "slc0"}, PeerName: "slc-0123456789a"},
	} {
		if err := netlink.LinkAdd(link); err != nil {
			t.Fatal(err)
		}
	}
	if ends, err := plug.HostEnds(); err != nil || len(ends) != 0 {
		t.Errorf("the host has %+v, error %v", ends, err)
	}
}
