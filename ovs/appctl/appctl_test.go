package appctl_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-cni/sluice/ovs/appctl"
	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/ovstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommandsToARealDaemon(t *testing.T) {
	ovs := ovstest.Start(t)
	socket := ovs.CtlSocket(daemon.Vswitchd)

	t.Run("version answers", func(t *testing.T) {
		got, err := appctl.Call(t.Context(), socket, "version")
		if err != nil || !strings.HasPrefix(got, "ovs-vswitchd (Open vSwitch)") {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("arguments arrive", func(t *testing.T) {
		if _, err := appctl.Call(t.Context(), socket, "vlog/set", "bridge:file:dbg"); err != nil {
			t.Fatal(err)
		}
		got, err := appctl.Call(t.Context(), socket, "vlog/list")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(got) {
			if f := strings.Fields(line); len(f) == 4 && f[0] == "bridge" && f[3] != "DBG" {
				t.Errorf("level %q", line)
			}
		}
	})
	t.Run("an unknown command is a CommandError", func(t *testing.T) {
		_, err := appctl.Call(t.Context(), socket, "no/such")
		var refused *appctl.CommandError
		if !errors.As(err, &refused) || !strings.Contains(refused.Text, "not a valid command") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("bad arguments are a CommandError", func(t *testing.T) {
		_, err := appctl.Call(t.Context(), socket, "ofproto/trace", "no-bridge", "ip")
		if !errors.As(err, new(*appctl.CommandError)) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the client follows the daemon through a restart", func(t *testing.T) {
		for _, d := range []daemon.Daemon{daemon.DB, daemon.Vswitchd} {
			c := appctl.Client{RunDir: ovs.Dir(), Daemon: string(d)}
			if _, err := c.Call(t.Context(), "version"); err != nil {
				t.Error(err)
			}
		}
		c := appctl.Client{RunDir: ovs.Dir()}
		ovs.Stop(daemon.Vswitchd)
		if _, err := c.Call(t.Context(), "version"); !errors.Is(err, appctl.ErrNotRunning) {
			t.Errorf("stopped: got %v", err)
		}
		ovs.StartVswitchd()
		ovs.Kill(daemon.Vswitchd)
		if _, err := c.Call(t.Context(), "version"); !errors.Is(err, appctl.ErrNotRunning) {
			t.Errorf("killed: got %v", err)
		}
		ovs.StartVswitchd()
		if _, err := c.Call(t.Context(), "version"); err != nil {
			t.Error(err)
		}
	})
}

func TestSocketIsFoundByThePidFile(t *testing.T) {
	dir := t.TempDir()
	c := appctl.Client{RunDir: dir}
	if _, err := c.Socket(); !errors.Is(err, appctl.ErrNotRunning) || !strings.Contains(err.Error(), dir) {
		t.Errorf("empty directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ovs-vswitchd.pid"), []byte("1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Socket(); err != nil || got != filepath.Join(dir, "ovs-vswitchd.1234.ctl") {
		t.Errorf("got %q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ovs-vswitchd.pid"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Socket(); err == nil || !strings.Contains(err.Error(), `"rubbish"`) {
		t.Errorf("got %v", err)
	}
}

func TestSilentDaemonIsBoundedByTheContext(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket) // accepts into its backlog, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := appctl.Call(ctx, socket, "version"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "version") {
		t.Errorf("got %v", err)
	}
}

func TestDaemonThatDiesInMidCommandIsAnErrorAtOnce(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		conn.Read(make([]byte, 1024))
		fmt.Fprint(conn, `{"id":0,"res`)
		conn.Close()
	}()
	if _, err := appctl.Call(t.Context(), socket, "version"); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
