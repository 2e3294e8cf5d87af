package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluice-cni/sluice/ovs/netns"
	"github.com/sluice-cni/sluice/test/slow"
)

// DefaultTimeout bounds how long a command waits for the agents; on a slow or busy machine it waits longer.
const DefaultTimeout = 30 * time.Second

// Options say what lab to start. The zero value is a lab of two nodes.
type Options struct {
	// Name tells labs on one machine apart: at most 20 lower-case letters, digits
	// and '-'. Default DefaultName.
	Name string
	// Nodes is how many Nodes n1, n2, ... there shall be, 1 to 200, besides those
	// in Objects. Default 2.
	Nodes int
	// Objects are what the lab begins with. Nil means Example.
	Objects []Object
	// Families are the pods' address families: which podCIDRs the numbered nodes have,
	// and in which order. Default IPv4.
	Families Families
	// Underlay is which families the nodes' own addresses are of, and in which order.
	// Default IPv4. A node's card has addresses of the pods' families besides, by which
	// pods get out; the Node does not name them.
	Underlay Families
	// Datapath is where the switches forward. Default: what the machine has.
	Datapath Datapath
	// MTU is the underlay's link maximum in bytes, 1280 to 9000. Default 1500.
	MTU int
	// BinDir holds sluice-agent, sluice-cni and sluice-lab. Default: where this
	// program itself is.
	BinDir string
	// Timeout bounds each wait for agents. Default DefaultTimeout.
	Timeout time.Duration
	// Out takes what a user may want to read while it goes on. Default: nowhere.
	Out io.Writer
	// NoAgents leaves nodes as machines with Open vSwitch, and nothing of Sluice's
	// running on them: somebody else installs it. Such a lab has no Pods.
	NoAgents bool
	// KeepFailed leaves a lab that did not come up as it is, to be looked at.
	KeepFailed bool
}

// Lab is a handle on a lab. All it knows is on disk, so that any number of
// handles, in any number of processes, may be used at once: what changes a lab is
// done one after the other.
type Lab struct {
	// Timeout bounds how long Apply, Delete and Start wait for agents.
	Timeout time.Duration

	places places
	out    *output
}

// output is a writer of lines that several goroutines share.
type output struct {
	mutex  sync.Mutex
	writer io.Writer
}

func (o *output) printf(format string, args ...any) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	fmt.Fprintf(o.writer, format+"\n", args...)
}

// handle checks the name and makes the handle.
func handle(name string, timeout time.Duration, out io.Writer) (*Lab, error) {
	if name == "" {
		name = DefaultName
	}
	if err := checkLabName(name); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("must be root: a lab is made of network namespaces")
	}
	if timeout == 0 {
		timeout = slow.Bound(DefaultTimeout)
	}
	if out == nil {
		out = io.Discard
	}
	return &Lab{Timeout: timeout, places: places{name}, out: &output{writer: out}}, nil
}

// Open finds a lab that is up. The error is a NotUpError if there is none of
// that name. out takes progress; nil means nowhere.
func Open(name string, out io.Writer) (*Lab, error) {
	l, err := handle(name, 0, out)
	if err != nil {
		return nil, err
	}
	if _, err := l.places.loadState(); err != nil {
		return nil, err
	}
	return l, nil
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.places.lab }

// Dir is the directory that holds all of the lab's files.
func (l *Lab) Dir() string { return l.places.dir() }

// Up starts a lab, and returns when its pods run and every agent has everything
// in force. If that fails, or ctx ends, nothing is left of it.
func Up(ctx context.Context, options Options) (*Lab, error) {
	l, err := handle(options.Name, options.Timeout, options.Out)
	if err != nil {
		return nil, err
	}
	if err := options.complete(ctx); err != nil {
		return nil, err
	}
	unlock, err := l.places.lock(ctx, l.out)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := l.places.checkAbsent(ctx); err != nil {
		return nil, err
	}
	err = l.up(ctx, options)
	if err == nil {
		return l, nil
	}
	err = fmt.Errorf("lab %q did not come up: %w", l.Name(), err)
	if options.KeepFailed {
		l.out.printf("lab %q is left as it is in %s; `sluice-lab down%s` removes it", l.Name(), l.Dir(), nameFlag(l.Name()))
		return nil, err
	}
	return nil, errors.Join(err, l.places.clear(context.WithoutCancel(ctx)))
}

// complete fills in defaults and checks what was given.
func (o *Options) complete(ctx context.Context) error {
	if o.Nodes == 0 {
		o.Nodes = 2
	}
	if o.Nodes < 1 || o.Nodes > maxNodes {
		return fmt.Errorf("%d nodes: a lab has 1 to %d", o.Nodes, maxNodes)
	}
	if o.MTU == 0 {
		o.MTU = DefaultMTU
	}
	if o.MTU < 1280 || o.MTU > 9000 {
		return fmt.Errorf("MTU %d: an underlay has one of 1280 to 9000 bytes", o.MTU)
	}
	if err := errors.Join(o.Families.check("families"), o.Underlay.check("underlay")); err != nil {
		return err
	}
	if o.Objects == nil {
		o.Objects = Example(o.Nodes)
		if o.NoAgents {
			o.Objects = []Object{}
		}
	}
	switch o.Datapath {
	case "":
		o.Datapath = machineDatapath(ctx)
	case SystemDatapath, NetdevDatapath:
	default:
		return fmt.Errorf("datapath %q: use system (the kernel's) or netdev (in userspace)", o.Datapath)
	}
	if o.BinDir == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the executables: %w", err)
		}
		o.BinDir = filepath.Dir(self)
	}
	dir, err := filepath.Abs(o.BinDir)
	if err != nil {
		return fmt.Errorf("find the executables: %w", err)
	}
	o.BinDir = dir
	for _, name := range []string{agentExecutable, cniExecutable, labExecutable} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.IsDir() {
			return fmt.Errorf("no executable %s in %s: run `make build`, or say with --bin-dir where it is", name, dir)
		}
	}
	return nil
}

// checkAbsent says that there is no such lab, and removes what a crash may have
// left of one.
func (p places) checkAbsent(ctx context.Context) error {
	s, err := p.loadState()
	switch {
	case errors.As(err, new(*NotUpError)):
		return p.clear(ctx)
	case err != nil:
		return err
	case !s.Up:
		return p.halfUp()
	}
	return fmt.Errorf("lab %q is already up, with %d nodes: change it with `apply`, or run `sluice-lab down%s` first",
		p.lab, len(s.Nodes), nameFlag(p.lab))
}

func (l *Lab) up(ctx context.Context, options Options) error {
	if err := os.MkdirAll(l.places.objectsDir(), 0o755); err != nil {
		return err
	}
	s := &session{
		places: l.places, out: l.out,
		cluster: newCluster(time.Now, newUID),
		state: &state{
			Datapath: options.Datapath, MTU: options.MTU, Families: options.Families, Underlay: options.Underlay, BinDir: options.BinDir,
			Created: time.Now().UTC().Truncate(time.Second), NoAgents: options.NoAgents,
		},
	}
	s.cluster.underlay = options.Underlay
	if err := s.saveState(s.state); err != nil {
		return err
	}
	l.out.printf("lab %q: %s datapath, underlay %s with MTU %d", l.Name(), options.Datapath, strings.Join(of(options.Underlay, underlay.String(), underlayIPv6.String()), " and "), options.MTU)
	if err := s.createWire(options.MTU); err != nil {
		return err
	}
	if err := s.startOutside(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, 2*l.Timeout)
	defer cancel()
	if err := s.apply(bounded, withNumberedNodes(options.Objects, options.Nodes, options.Families)); err != nil {
		return err
	}
	if err := l.awaitInForce(ctx); err != nil {
		return err
	}
	s.state.Up = true
	return s.saveState(s.state)
}

// Down removes the lab of that name, or what is left of it: processes,
// namespaces, files. A lab that is not there is no error.
func Down(ctx context.Context, name string, out io.Writer) error {
	l, err := handle(name, 0, out)
	if err != nil {
		return err
	}
	return l.Down(ctx)
}

// Down removes the lab. It succeeds, too, if there is none any more.
func (l *Lab) Down(ctx context.Context) error {
	unlock, err := l.places.lock(ctx, l.out)
	if err != nil {
		return err
	}
	_, err = os.Stat(l.Dir())
	existed := err == nil
	// Once begun it is carried through.
	err = l.places.clear(context.WithoutCancel(ctx))
	unlock()
	if err != nil {
		return fmt.Errorf("remove lab %q: %w", l.Name(), err)
	}
	if existed {
		l.out.printf("lab %q is down", l.Name())
	} else {
		l.out.printf("lab %q is not up: there was nothing to remove", l.Name())
	}
	return nil
}

// clear ends and removes all that is a lab's, however it came to be there.
func (p places) clear(ctx context.Context) error {
	errs := []error{p.endAll(ctx)}
	names, err := netns.Names(p.netnsPrefix())
	errs = append(errs, err)
	for _, name := range names {
		errs = append(errs, netns.Delete(name))
	}
	if err := errors.Join(errs...); err != nil {
		return err // the directory stays, to be tried again with
	}
	return os.RemoveAll(p.dir())
}
