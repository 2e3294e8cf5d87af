// Package uninstall takes Sluice off a node: what an agent put there outside of its
// own container. It never touches what others use too: Open vSwitch itself, other
// bridges, the reference plugins, and sysctls, whose earlier values nobody knows.
package uninstall

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-cni/sluice/agent/api"
	"github.com/sluice-cni/sluice/agent/host"
	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/agent/plugging"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/db"
)

// Config says where things are.
type Config struct {
	// OVSDB is where ovsdb-server listens, "unix:PATH".
	OVSDB string
	// RunDir holds the agent's sockets.
	RunDir string
	// CNIConf and CNIPlugin are the files that the container runtime reads and runs.
	CNIConf, CNIPlugin string
	// Force removes Sluice under pods that are still there, and their cables with it.
	Force bool
}

// Node removes Sluice from the node whose network namespace the caller is in. What
// is not there is no error, so it can be tried again. The error is about what is left.
func Node(ctx context.Context, c Config, log *slog.Logger) error {
	if _, err := api.NewClient(filepath.Join(c.RunDir, "agent.sock")).Status(ctx); err == nil {
		return errors.New("the agent runs, and would put all of it back: stop it first (kubectl delete -f sluice.yaml)")
	}
	// First, so that nothing new is plugged in.
	if err := remove(c.CNIConf); err != nil {
		return err
	}
	if err := bridge(ctx, c, log); err != nil {
		return err
	}
	return errors.Join(host.RemoveRules(ctx), remove(c.CNIPlugin), empty(c.RunDir))
}

// bridge deletes the bridge, and with it the gateway, its addresses and its routes,
// and the tunnel.
func bridge(ctx context.Context, c Config, log *slog.Logger) error {
	ovsdb, err := db.Open(ctx, c.OVSDB, log)
	if err != nil {
		return err
	}
	defer ovsdb.Close()
	var holders, cables []string
	leases, _ := plugging.Rows(ovsdb)
	for _, l := range leases {
		holders = append(holders, l.Holder())
		if l.Layer2.Device == "" {
			cables = append(cables, l.Port)
		}
	}
	if len(holders) > 0 && !c.Force {
		return fmt.Errorf("%d containers are still plugged in and would have no network: %s; move them off this node (kubectl drain), or use --force",
			len(holders), strings.Join(holders, ", "))
	}
	// Left behind, the key would have the next start of ovs-vswitchd forward nothing.
	if err := ovsdb.SetOpenvSwitchOtherConfig(ctx, nil, []string{"flow-restore-wait"}); err != nil {
		return err
	}
	if err := secondNetworks(ctx, ovsdb, leases); err != nil {
		return err
	}
	if err := ovsdb.DeleteBridge(ctx, render.Bridge); err != nil {
		return err
	}
	if _, err := ovsdb.SweepLimits(ctx); err != nil {
		return err
	}
	if _, err := ovsdb.EnsureTimeouts(ctx, "", nil); err != nil {
		return err
	}
	if err := ovsdb.WaitApplied(ctx); err != nil {
		return fmt.Errorf("bridge %s is deleted in OVSDB, and ovs-vswitchd has not followed: %w", render.Bridge, err)
	}
	var errs []error
	for _, cable := range cables {
		errs = append(errs, plug.Remove(cable))
	}
	return errors.Join(errs...)
}

// secondNetworks takes our ports off other bridges, and brings lent devices home.
func secondNetworks(ctx context.Context, ovsdb *db.Client, leases []lease.Lease) error {
	var errs []error
	for _, l := range leases {
		switch {
		case l.Layer2.Device != "":
			errs = append(errs, plugging.BringHome(l), ovsdb.SetOpenvSwitchExternalIDs(ctx, nil, []string{l.DeviceKey()}))
		case l.Layer2.Bridge != "":
			_, err := ovsdb.DeletePort(ctx, l.Layer2.Bridge, l.Port, db.BridgeNote{})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// empty removes what is in a directory, which itself may be a mount point.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}
