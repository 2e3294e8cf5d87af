package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"

	"github.com/containernetworking/cni/libcni"

	"github.com/sluice-cni/sluice/ovs/netns"
)

const pluginsModule = "github.com/containernetworking/plugins"

// startPeers gives each peer a host.
func (p place) startPeers(plugins string) ([]*contender, error) {
	// All pods get a default route, as Sluice's do; nobody masquerades in their ADD,
	// as Sluice's does not.
	confs := []map[string]any{
		{"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": false},
		{"type": "ptp", "ipMasq": false},
	}
	var peers []*contender
	for i, conf := range confs {
		name := conf["type"].(string)
		ipam := map[string]any{
			"type": "host-local", "dataDir": p.leasesDir(name),
			"ranges": [][]any{{map[string]any{"subnet": fmt.Sprintf("10.24%d.0.0/24", i)}}},
		}
		if name == "ptp" {
			ipam["routes"] = []any{map[string]any{"dst": "0.0.0.0/0"}}
		}
		conf["ipam"] = ipam
		peer, err := p.startPeer(name, plugins, conf)
		if err != nil {
			return nil, fmt.Errorf("start peer %s: %w", name, err)
		}
		peers = append(peers, peer)
	}
	return peers, nil
}

func (p place) startPeer(name, plugins string, conf map[string]any) (*contender, error) {
	text, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "bench-" + name, "plugins": []any{conf}})
	if err != nil {
		return nil, err
	}
	list, err := libcni.NetworkConfFromBytes(text)
	if err != nil {
		return nil, err
	}
	host, err := netns.Create(p.netnsPrefix() + name)
	if err != nil {
		return nil, err
	}
	return p.newContender(name, host, plugins, list)
}

// buildPlugins builds the plugins of the version that our go.mod names, by their own
// go.mod, with the linker's flags that ours are built with.
func buildPlugins(ctx context.Context, dir string) error {
	version, err := pluginsVersion()
	if err != nil {
		return err
	}
	progress("building plugins of %s %s", pluginsModule, version)
	args := []string{"install", "-trimpath", "-ldflags", "-s -w"}
	for _, name := range []string{"main/bridge", "main/ptp", "ipam/host-local"} {
		args = append(args, fmt.Sprintf("%s/plugins/%s@%s", pluginsModule, name, version))
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the peers' plugins: go %v: %w: %s", args, err, out)
	}
	return nil
}

// pluginsVersion is the one that this program was built with.
func pluginsVersion() (string, error) {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == pluginsModule {
				return m.Version, nil
			}
		}
	}
	return "", fmt.Errorf("this program was built without a note of which %s it uses: build it in module mode", pluginsModule)
}
