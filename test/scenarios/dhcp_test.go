package scenarios

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/ovstest"
	"github.com/sluice-cni/sluice/test/lab"
)

// daemon runs a program in a namespace until the test ends.
func daemon(t *testing.T, sandbox string, argv ...string) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := netns.Do(sandbox, cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", argv[0], out.String())
		}
	})
	return &out
}

// TestAnAddressByDHCP: the reference dhcp plugin asks a real server by the cable, which is
// there before the plugin runs, and by it the plugin gives the address back at DEL.
func TestAnAddressByDHCP(t *testing.T) {
	l := up(t, lab.Options{Nodes: 2, Objects: []lab.Object{}})
	n1, n2 := node(t, l, "n1"), node(t, l, "n2")
	lan(t, l, n1, n2)
	reference, err := referencePlugins()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "udhcpd.conf")
	text := fmt.Sprintf("start 10.99.0.100\nend 10.99.0.101\ninterface net1\nlease_file %[1]s/leases\npidfile %[1]s/pid\noption subnet 255.255.255.0\noption router 10.99.0.1\noption lease 600\n", dir)
	if err := errors.Join(os.WriteFile(conf, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "leases"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	server := call{container: "server", netns: ovstest.NewNamespace(t).Path, ifname: "net1", conf: lanConf(n2, `,"vlan":7`+staticIPAM("10.99.0.1/24"))}
	plugged(t, n2, server)
	daemon(t, server.netns, "udhcpd", "-f", conf)
	ear := openDevice(t, server.netns, "net1")
	socket := filepath.Join(dir, "dhcp.sock")
	daemon(t, n1.Netns, filepath.Join(reference, "dhcp"), "daemon", "-socketpath", socket, "-timeout", "2s", "-resendmax", "2s", "-resendtimeout", "6s")
	eventually(t, "the dhcp plugin's daemon listens", func() error { _, err := os.Stat(socket); return err })
	asks := lanConf(n1, fmt.Sprintf(`,"vlan":7,"ipam":{"type":"dhcp","daemonSocketPath":%q}`, socket))
	for id, want := range map[string]string{"one": "10.99.0.10", "two": "10.99.0.10"} {
		c := call{container: id, netns: ovstest.NewNamespace(t).Path, ifname: "net1", conf: asks}
		a := plugged(t, n1, c)
		if len(a.IPs) != 1 || !strings.HasPrefix(a.IPs[0].Address, want) {
			t.Errorf("%s: %s", id, a.text)
		}
		if !sees(t, c.netns, "net1", "10.99.0.1") {
			t.Errorf("%s does not reach its router", id)
		}
		check := c
		check.verb, check.path, check.conf = "CHECK", reference, strings.TrimSuffix(asks, "}")+`,"prevResult":`+a.text+"}"
		if got := cni(t, n1, check); got.failed {
			t.Errorf("CHECK: %s", got.text)
		}
		unplugged(t, n1, c)
		const release = "\x35\x01\x07" // option 53, DHCP message type (RFC 2132, 9.6)
		if !ear.hear(t, 2*time.Second, payload(release)) {
			t.Errorf("%s: the server has not heard that the address is given back", id)
		}
	}
	// On another VLAN nobody answers, and nothing is left of the attempt.
	alone := call{verb: "ADD", container: "alone", netns: ovstest.NewNamespace(t).Path, ifname: "net1", path: reference, conf: strings.Replace(asks, `"vlan":7`, `"vlan":8`, 1)}
	if a := cni(t, n1, alone); !a.failed || !strings.Contains(a.Msg, "IPAM plugin dhcp: ") {
		t.Errorf("%s", a.text)
	}
	unplugged(t, n2, server)
	noTraceLeft(t, l, n1)
	noTraceLeft(t, l, n2)
}
