package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/netns"
)

const (
	podInterface = "eth0"
	// goneBound is how long a link may take to go after DEL.
	goneBound = 10 * time.Second
	// fillers is the number of the first of the sandboxes that stay.
	fillers = 1000
)

// contender is a CNI plugin with a host of its own. Only atOnce calls its other
// methods from several goroutines.
type contender struct {
	name string
	// netns is the path of the host's network namespace, where the plugin runs.
	netns string
	// plugin is the path of the executable.
	plugin string
	cni    *libcni.CNIConfig
	list   *libcni.NetworkConfigList

	place     place
	host      *netlink.Handle // in netns
	sandboxes map[int]*sandbox
}

// sandbox is a pod's network namespace. The same is used again and again: the kernel
// takes one apart in the background, and would disturb what is measured next.
type sandbox struct {
	netns string
	// adds counts them: each is for a new container, as a runtime has it.
	number, adds int
	// hostEnd is the cable's end on the host, address the pod's, as the last ADD told.
	hostEnd string
	address netip.Addr
}

// newContender takes a configuration list, and the directory with its plugins.
func (p place) newContender(name, host, pluginDir string, list *libcni.NetworkConfigList) (*contender, error) {
	exec := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: io.Discard}}
	plugin, err := exec.FindInPath(list.Plugins[0].Network.Type, []string{pluginDir})
	if err != nil {
		return nil, err
	}
	ns, err := vnetns.GetFromPath(host)
	if err != nil {
		return nil, fmt.Errorf("open the host's namespace %s: %w", host, err)
	}
	defer ns.Close()
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink in %s: %w", host, err)
	}
	return &contender{
		name: name, netns: host, plugin: plugin, list: list, place: p, host: handle, sandboxes: map[int]*sandbox{},
		cni: libcni.NewCNIConfigWithCacheDir([]string{pluginDir}, p.cacheDir(name), exec),
	}, nil
}

// sandbox is the sandbox of that number, made now if need be.
func (c *contender) sandbox(number int) (*sandbox, error) {
	if s, ok := c.sandboxes[number]; ok {
		return s, nil
	}
	path, err := netns.Create(fmt.Sprintf("%s%s-%d", c.place.netnsPrefix(), c.name, number))
	if err != nil {
		return nil, err
	}
	s := &sandbox{netns: path, number: number}
	c.sandboxes[number] = s
	return s, nil
}

// verb is a CNI verb on a sandbox, which starts when the gate opens (nil: at once). It
// tells how long it took.
type verb func(ctx context.Context, s *sandbox, ready func(), gate <-chan struct{}) (time.Duration, error)

func (c *contender) add(ctx context.Context, s *sandbox) (time.Duration, error) {
	return c.addAtGate(ctx, s, func() {}, nil)
}

func (c *contender) del(ctx context.Context, s *sandbox) (time.Duration, error) {
	return c.delAtGate(ctx, s, func() {}, nil)
}

func (c *contender) addAtGate(ctx context.Context, s *sandbox, ready func(), gate <-chan struct{}) (time.Duration, error) {
	s.adds++
	var told *types100.Result
	took, err := c.timed(ready, gate, func() error {
		result, err := c.cni.AddNetworkList(ctx, c.list, s.runtimeConf())
		if err == nil {
			told, err = types100.NewResultFromResult(result)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s: ADD: %w", c.name, err)
	}
	return took, s.note(told)
}

func (c *contender) delAtGate(ctx context.Context, s *sandbox, ready func(), gate <-chan struct{}) (time.Duration, error) {
	took, err := c.timed(ready, gate, func() error { return c.cni.DelNetworkList(ctx, c.list, s.runtimeConf()) })
	if err != nil {
		return 0, fmt.Errorf("%s: DEL: %w", c.name, err)
	}
	return took, nil
}

func (c *contender) check(ctx context.Context, s *sandbox) (time.Duration, error) {
	took, err := c.timed(func() {}, nil, func() error { return c.cni.CheckNetworkList(ctx, c.list, s.runtimeConf()) })
	if err != nil {
		return 0, fmt.Errorf("%s: CHECK: %w", c.name, err)
	}
	return took, nil
}

// timed runs what starts a process on a thread in the host's namespace. Getting there
// does not count.
func (c *contender) timed(ready func(), gate <-chan struct{}, do func() error) (took time.Duration, err error) {
	var once sync.Once
	defer once.Do(ready) // whoever waits for all to be ready must not wait for ever
	err = netns.Do(c.netns, func() error {
		once.Do(ready)
		if gate != nil {
			<-gate
		}
		began := time.Now()
		defer func() { took = time.Since(began) }()
		return do()
	})
	return took, err
}

func (s *sandbox) runtimeConf() *libcni.RuntimeConf {
	id := fmt.Sprintf("%032x%032x", s.number, s.adds)
	return &libcni.RuntimeConf{
		ContainerID: id, NetNS: s.netns, IfName: podInterface,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", "bench"},
			{"K8S_POD_NAME", fmt.Sprintf("pod-%d", s.number)},
			{"K8S_POD_INFRA_CONTAINER_ID", id},
		},
	}
}

// note takes what ADD told.
func (s *sandbox) note(r *types100.Result) error {
	for _, i := range r.Interfaces {
		// The host's ends have no sandbox; a bridge is told before its port.
		if i.Sandbox == "" {
			s.hostEnd = i.Name
		}
	}
	if len(r.IPs) == 0 || s.hostEnd == "" {
		return errors.New("the result of ADD has no address or no interface on the host")
	}
	address, ok := netip.AddrFromSlice(r.IPs[0].Address.IP)
	if !ok {
		return fmt.Errorf("the result of ADD has the address %v", r.IPs[0].Address)
	}
	s.address = address.Unmap()
	return nil
}

// awaitGone returns when the cable has gone from the host.
func (c *contender) awaitGone(ctx context.Context, s *sandbox) error {
	for until := time.Now().Add(goneBound); ; {
		_, err := c.host.LinkByName(s.hostEnd)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		switch {
		case err != nil:
			return fmt.Errorf("%s: look for %s: %w", c.name, s.hostEnd, err)
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(until):
			return fmt.Errorf("%s: link %s is still there %v after DEL", c.name, s.hostEnd, goneBound)
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// atOnce runs a verb on n sandboxes at the same moment. It tells how long each took,
// and how long until all were done.
func (c *contender) atOnce(ctx context.Context, n int, do verb) (each []time.Duration, all time.Duration, err error) {
	each = make([]time.Duration, n)
	gate := make(chan struct{})
	var ready sync.WaitGroup
	var group errgroup.Group
	for i := range n {
		s, err := c.sandbox(i)
		if err != nil {
			close(gate)
			return nil, 0, errors.Join(err, group.Wait())
		}
		ready.Add(1)
		group.Go(func() (err error) {
			each[i], err = do(ctx, s, ready.Done, gate)
			return err
		})
	}
	ready.Wait()
	began := time.Now()
	close(gate)
	err = group.Wait()
	return each, time.Since(began), err
}

// fill plugs n pods in that stay.
func (c *contender) fill(ctx context.Context, n int) error {
	var group errgroup.Group
	group.SetLimit(8)
	for i := range n {
		s, err := c.sandbox(fillers + i)
		if err != nil {
			return errors.Join(err, group.Wait())
		}
		group.Go(func() error {
			_, err := c.add(ctx, s)
			return err
		})
	}
	return group.Wait()
}

// execute runs an executable as libcni does.
func (c *contender) execute(ctx context.Context, path, command string) (time.Duration, error) {
	exec := &invoke.RawExec{Stderr: io.Discard}
	env := []string{"CNI_COMMAND=" + command, "CNI_PATH=/nowhere", "CNI_NETNS=none", "CNI_IFNAME=none", "CNI_CONTAINERID=none"}
	took, err := c.timed(func() {}, nil, func() error {
		_, err := exec.ExecPlugin(ctx, path, []byte(`{"cniVersion":"1.0.0"}`), env)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return took, nil
}

// prove shows that pods reach one another, with TCP, before their making is measured.
func (c *contender) prove(ctx context.Context) error {
	a, err := c.sandbox(0)
	if err != nil {
		return err
	}
	b, err := c.sandbox(1)
	if err != nil {
		return err
	}
	for _, s := range []*sandbox{a, b} {
		if _, err := c.add(ctx, s); err != nil {
			return err
		}
	}
	if err := talk(ctx, a, b); err != nil {
		return fmt.Errorf("pods do not reach one another: %w", err)
	}
	for _, s := range []*sandbox{a, b} {
		if _, err := c.del(ctx, s); err != nil {
			return err
		}
		if err := c.awaitGone(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// talk opens a TCP connection from one pod to the other.
func talk(ctx context.Context, server, client *sandbox) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var listener net.Listener
	err := netns.Do(server.netns, func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(server.address, 8080).String())
		return err
	})
	if err != nil {
		return err
	}
	defer listener.Close()
	return netns.Do(client.netns, func() error {
		// The dialer opens the socket on this thread: the address is no name.
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
