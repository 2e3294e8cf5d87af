package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// create makes the node's namespace, network card, directories and CNI
// configuration. Nothing runs yet.
func (h host) create() error {
	if err := h.build(); err != nil {
		return fmt.Errorf("make node %s: %w", h.name, err)
	}
	return nil
}

func (h host) build() error {
	for _, dir := range []string{h.agentDir(), h.manifestsDir(), h.cniConfDir(), h.cniBinDir(), h.cniCacheDir(), h.podsDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := h.configureCNI(); err != nil {
		return err
	}
	if err := createNetns(h.netns()); err != nil {
		return err
	}
	if err := h.lab.connect(h.netns(), nodeNIC, h.plug(), h.state.MTU); err != nil {
		return err
	}
	if h.state.Datapath == NetdevDatapath {
		return withoutChecksumOffload(h.netns(), nodeNIC)
	}
	return nil
}

// plug names the wire's end of the node's cable, by the node's number.
func (h host) plug() string {
	return fmt.Sprintf("node%d", numberOf(h.state.node(h.name).Addresses[0]))
}

// configureCNI puts a network configuration and the plugin where a runtime
// looks for them.
func (h host) configureCNI() error {
	conf, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.1.0",
		"name":       networkName,
		"plugins":    []any{map[string]any{"type": pluginType, "socket": h.cniSocket(), "capabilities": map[string]bool{"portMappings": true}}},
	}, "", "  ")
	if err == nil {
		err = writeWhole(filepath.Join(h.cniConfDir(), "10-sluice.conflist"), append(conf, '\n'))
	}
	if err != nil {
		return err
	}
	return os.Symlink(filepath.Join(h.state.BinDir, cniExecutable), filepath.Join(h.cniBinDir(), pluginType))
}

// startSwitch starts Open vSwitch and puts the node on the underlay.
func (h host) startSwitch(ctx context.Context) error {
	ovs, err := h.ovs()
	if err == nil {
		err = ovs.CreateDB(ctx)
	}
	if err != nil {
		return fmt.Errorf("node %s: %w", h.name, err)
	}
	if err := h.start(ctx, OVSDB); err != nil {
		return err
	}
	return h.start(ctx, Vswitchd)
}

// remove ends the node's daemons and removes all that is the node's but its
// pods.
func (h host) remove(ctx context.Context) error {
	errs := []error{h.agentProcess().end(ctx, unix.SIGTERM)}
	if ovs, err := h.ovs(); err == nil {
		errs = append(errs, ovs.StopAll(ctx))
	}
	errs = append(errs, h.lab.disconnect(h.plug()), deleteNetns(h.netns()), os.RemoveAll(h.dir))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove node %s: %w", h.name, err)
	}
	return nil
}
