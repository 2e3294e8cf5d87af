package plug_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/ovs/rtnl"
)

func TestAPathThatIsNoContainersNamespaceIsRefused(t *testing.T) {
	onHost(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		gone bool
	}{
		"nothing":                     {"/run/netns/there-is-none", true},
		"below a file":                {file + "/ns", true},
		"an ordinary file":            {file, true},
		"a namespace of another kind": {"/proc/self/ns/mnt", false},
		"the host's own":              {"/proc/thread-self/ns/net", false},
	} {
		t.Run(name, func(t *testing.T) {
			// A subtest has a thread of its own: on the machine's own namespace.
			s := plug.Spec{
				HostName: "slc0123456789ab", NetNS: c.path, IfName: "eth0", MAC: routerMAC, MTU: 1450,
				Addresses: addrs("10.1.0.2"), Routers: addrs("10.1.0.1"), RouterMAC: routerMAC,
			}
			_, err := plug.Create(t.Context(), s)
			var bad *plug.NetNSError
			if !errors.As(err, &bad) || bad.Path != c.path || bad.Gone != c.gone || !strings.Contains(err.Error(), c.path) {
				t.Errorf("Create: %v", err)
			}
			if _, err := plug.Inspect(c.path, "eth0"); !errors.As(err, &bad) {
				t.Errorf("Inspect: %v", err)
			}
		})
	}
}

func TestANameThatIsTakenIsToldAndLeftAlone(t *testing.T) {
	pod := onHost(t)
	s := spec(pod)
	create(t, s)

	again := s
	again.HostName = plug.HostName("pods", "c1", "eth1")
	if _, err := plug.Create(t.Context(), again); !errors.Is(err, plug.ErrIfNameTaken) {
		t.Errorf("the interface's name: %v", err)
	}
	again = s
	again.IfName = "eth1"
	if _, err := plug.Create(t.Context(), again); !errors.Is(err, plug.ErrHostNameTaken) {
		t.Errorf("the host end's name: %v", err)
	}
	if _, err := plug.Create(t.Context(), s); !errors.Is(err, plug.ErrIfNameTaken) {
		t.Errorf("both names: %v", err)
	}

	ends, err := plug.HostEnds()
	if err != nil || len(ends) != 1 || ends[0].Name != s.HostName {
		t.Errorf("the host has %+v, error %v", ends, err)
	}
	if _, err := plug.Inspect(s.NetNS, "eth0"); err != nil {
		t.Errorf("the first cable has gone: %v", err)
	}
}

func TestABadSpecIsRefusedBeforeAnythingIsMade(t *testing.T) {
	pod := onHost(t)
	for name, change := range map[string]func(*plug.Spec){
		"no host name":                   func(s *plug.Spec) { s.HostName = "" },
		"a long host name":               func(s *plug.Spec) { s.HostName = "slc0123456789abc" },
		"no interface name":              func(s *plug.Spec) { s.IfName = "" },
		"no MAC":                         func(s *plug.Spec) { s.MAC = nil },
		"no MTU":                         func(s *plug.Spec) { s.MTU = 0 },
		"no address":                     func(s *plug.Spec) { s.Addresses = nil },
		"an address without a router":    func(s *plug.Spec) { s.Addresses = addrs("fd00::2") },
		"an address with two routers":    func(s *plug.Spec) { s.Routers = addrs("10.1.0.1", "10.1.0.3") },
		"an IPv4 address in IPv6's form": func(s *plug.Spec) { s.Addresses = addrs("::ffff:10.1.0.2") },
		"no router's MAC":                func(s *plug.Spec) { s.RouterMAC = nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := spec(pod)
			change(&s)
			if _, err := plug.Create(t.Context(), s); err == nil {
				t.Error("it is taken")
			}
		})
	}
	if links, _ := rtnl.Links(rtnl.Here); len(links) != 1 {
		t.Errorf("the host has %d links", len(links))
	}
}

func TestAnErrorNamesDeviceNamespaceAndStep(t *testing.T) {
	pod := onHost(t)
	s := spec(pod)
	cable := create(t, s)
	if err := plug.Remove(s.HostName); err != nil {
		t.Fatal(err)
	}
	err := cable.Configure(t.Context())
	if err == nil {
		t.Fatal("a cable that has gone is configured")
	}
	for _, part := range []string{pod.Path(), "eth0", "find it in"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %q", err, part)
		}
	}
}
