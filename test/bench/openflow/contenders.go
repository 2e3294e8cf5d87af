package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-cni/sluice/ovs/daemon"
	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/ovs/openflow"
	"github.com/sluice-cni/sluice/test/bench/figures"
)

const bridge = "br0"

// bench is one run: a switch and those that program it.
type bench struct {
	dir, netns string
	ovs        *daemon.OVS
	conn       *openflow.Conn
	peer       *peer
	figures    []figures.Figure
}

// start starts a switch of its own and everything that is measured against it.
func (b *bench) start(ctx context.Context) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "sluice-bench-"); err != nil {
		return err
	}
	b.netns = filepath.Base(b.dir)
	path, err := netns.Create(b.netns)
	if err != nil {
		return err
	}
	if b.ovs, err = daemon.New(b.dir, path); err != nil {
		return err
	}
	if err := b.ovs.Start(ctx); err != nil {
		return err
	}
	if err := b.command(ctx, "ovs-vsctl", "--db="+b.ovs.DBEndpoint(), "add-br", bridge,
		"--", "set", "bridge", bridge, "datapath_type=netdev", "fail_mode=secure"); err != nil {
		return err
	}
	if b.conn, err = openflow.Dial(ctx, b.ovs.MgmtSocket(bridge), nil); err != nil {
		return err
	}
	b.peer, err = b.startPeer(ctx)
	return err
}

// clear removes all that the run has made.
func (b *bench) clear(ctx context.Context) error {
	var errs []error
	if b.peer != nil {
		errs = append(errs, b.peer.end())
	}
	if b.conn != nil {
		errs = append(errs, b.conn.Close())
	}
	if b.ovs != nil {
		errs = append(errs, b.ovs.StopAll(ctx))
	}
	if b.netns != "" {
		errs = append(errs, netns.Delete(b.netns))
	}
	if b.dir != "" {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}

// command runs one of Open vSwitch's, and throws away what it prints.
func (b *bench) command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = b.ovs.Env()
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, said.String())
	}
	return nil
}

// ofctl runs ovs-ofctl.
func (b *bench) ofctl(ctx context.Context, args ...string) error {
	return b.command(ctx, "ovs-ofctl", append([]string{"-O", "OpenFlow15"}, args...)...)
}

// peer is the program in peer/, which runs go-openvswitch.
type peer struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func (b *bench) startPeer(ctx context.Context) (*peer, error) {
	program := filepath.Join(b.dir, "peer")
	build := exec.CommandContext(ctx, "go", "build", "-C", "test/bench/openflow/peer", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the peer (in the repository's root): %w: %s", err, out)
	}
	p := &peer{cmd: exec.CommandContext(ctx, program)}
	p.cmd.Env, p.cmd.Stderr = b.ovs.Env(), os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.lines = in, bufio.NewScanner(out)
	return p, p.cmd.Start()
}

// do has the peer do something, and tells how long it took and about how many flows.
func (p *peer) do(command string) (ns int64, flows int, err error) {
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		return 0, 0, err
	}
	if !p.lines.Scan() {
		return 0, 0, fmt.Errorf("the peer has ended at %q", command)
	}
	_, err = fmt.Sscan(p.lines.Text(), &ns, &flows)
	return ns, flows, err
}

func (p *peer) end() error {
	p.in.Close()
	return p.cmd.Wait()
}
