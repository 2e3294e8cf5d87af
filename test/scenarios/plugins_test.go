package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/lab"
)

const pluginsModule = "github.com/containernetworking/plugins"

// referencePlugins is a directory with the real plugins that others chain behind ours or
// delegate to, built once for this run, of the version that go.mod names.
// $SLUICE_PLUGIN_DIR says where they are on a machine without Go.
var referencePlugins = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("SLUICE_PLUGIN_DIR"); dir != "" {
		return dir, nil
	}
	version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", pluginsModule).Output()
	if err != nil {
		return "", fmt.Errorf("find out the version of %s: %w", pluginsModule, err)
	}
	dir, err := os.MkdirTemp("", "sluice-plugins-")
	if err != nil {
		return "", err
	}
	atExit = append(atExit, func() { os.RemoveAll(dir) })
	args := []string{"install", "-trimpath"}
	for _, name := range []string{"main/loopback", "meta/portmap", "meta/tuning", "meta/firewall", "meta/bandwidth", "ipam/host-local", "ipam/static", "ipam/dhcp"} {
		args = append(args, fmt.Sprintf("%s/plugins/%s@%s", pluginsModule, name, strings.TrimSpace(string(version))))
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the reference plugins: go %v: %w: %s", args, err, out)
	}
	return dir, nil
})

// runtimeOf is libcni as a container runtime on the node, with a list of plugins.
type runtimeOf struct {
	node lab.NodeListing
	cni  *libcni.CNIConfig
	list *libcni.NetworkConfigList
}

// newRuntime takes a configuration list's version and plugins. Ours gets the node's socket.
func newRuntime(t *testing.T, n lab.NodeListing, name, version string, plugins ...map[string]any) runtimeOf {
	t.Helper()
	reference, err := referencePlugins()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plugins {
		if p["type"] == "sluice" {
			p["socket"] = n.CNISocket
		}
	}
	text, err := json.Marshal(map[string]any{"cniVersion": version, "name": name, "plugins": plugins})
	if err != nil {
		t.Fatal(err)
	}
	list, err := libcni.NetworkConfFromBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	run := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}}
	return runtimeOf{n, libcni.NewCNIConfigWithCacheDir([]string{n.CNIBinDir, reference}, filepath.Join(t.TempDir(), "cache"), run), list}
}

// do runs what starts processes on a thread in the node's namespace.
func (r runtimeOf) do(f func() error) error { return netns.Do(r.node.Netns, f) }

func (r runtimeOf) del(ctx context.Context, c *libcni.RuntimeConf) error {
	return r.do(func() error { return r.cni.DelNetworkList(ctx, r.list, c) })
}

func (r runtimeOf) check(ctx context.Context, c *libcni.RuntimeConf) error {
	return r.do(func() error { return r.cni.CheckNetworkList(ctx, r.list, c) })
}

func mustIPNet(s string) *net.IPNet {
	ip, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	n.IP = ip
	return n
}

func mustMAC(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// gatewayOf is the node's own address in its podCIDR, the first.
func gatewayOf(t *testing.T, l *lab.Lab, n lab.NodeListing) string {
	t.Helper()
	cidrs := statusOf(t, n).PodCIDRs
	if len(cidrs) == 0 {
		t.Fatal("the node has no podCIDR")
	}
	return netip.MustParsePrefix(cidrs[0]).Addr().Next().String()
}

// gatewaysOf are the node's own addresses in its podCIDRs.
func gatewaysOf(t *testing.T, n lab.NodeListing) []string {
	t.Helper()
	var out []string
	for _, cidr := range statusOf(t, n).PodCIDRs {
		out = append(out, netip.MustParsePrefix(cidr).Addr().Next().String())
	}
	return out
}

func mtuOf(t *testing.T, n lab.NodeListing) int {
	t.Helper()
	return statusOf(t, n).MTU
}
