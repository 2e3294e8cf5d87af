package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-cni/sluice/test/slow"
)

// ProbeRequest says what to try. The zero value tries everything that is
// declared: from all pods and nodes to all pods, nodes and outside, by ICMP and
// to every declared port.
type ProbeRequest struct {
	// From and To are the ends; none means all.
	From, To []Endpoint
	// Port is tried instead of the declared ones, unless it is 0.
	Port int
	// Protocol is icmp, tcp, udp, or empty for these three; or sctp.
	Protocol string
	// Bound has whoever speaks be bound to its first address of the family, as a program may be; a node's
	// is that of its own on the underlay. Else the routes choose.
	Bound bool
	// Size is how many bytes of payload to send, in one packet that may not be
	// fragmented (TCP: as many as it takes). 0 sends a few bytes and then, by ICMP
	// and UDP to and from pods, as many as fit into the pod's MTU.
	Size int
}

// ProbeResult tells of one attempt. Nothing is ever tried twice: a first packet
// that was lost is an attempt that failed. Its JSON form is a contract.
type ProbeResult struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Port is 0 for ICMP.
	Port int `json:"port"`
	// Protocol is icmp, tcp, udp or sctp.
	Protocol string `json:"protocol"`
	// Address is the one of To that was tried: ends of both families are tried by both.
	Address string `json:"address,omitempty"`
	Reached bool   `json:"reached"`
	// AnsweredBy is the line that came back, or the address that answered by ICMP.
	AnsweredBy string `json:"answeredBy"`
	// Error says why it was not reached.
	Error string `json:"error"`
}

// parallelProbes is how many attempts are made at once on a machine that is not slow. On one that is, fewer
// leave each the same time: TCP takes an answer that comes after a second for one that is lost.
const parallelProbes = 16

func probesAtOnce() int { return max(1, int(parallelProbes*time.Second/slow.Bound(time.Second))) }

// Probe tries what reaches what. The results are in the order of ends and ports.
// An error means that it could not be tried; what is not reached is no error.
func (l *Lab) Probe(ctx context.Context, request ProbeRequest) ([]ProbeResult, error) {
	s, err := l.places.loadState()
	if err != nil {
		return nil, err
	}
	c, err := l.places.loadCluster(serviceKind)
	if err != nil {
		return nil, err
	}
	attempts, err := l.places.plan(s, c, request)
	if err != nil {
		return nil, err
	}
	mtus := podMTUs{known: map[string]int{}}
	results := make([]ProbeResult, len(attempts))
	slots := make(chan struct{}, probesAtOnce())
	var wait sync.WaitGroup
	for i, attempt := range attempts {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			results[i] = attempt.run(ctx, request.Size, &mtus)
		})
	}
	wait.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("probe: %w", context.Cause(ctx))
	}
	return results, nil
}

// attempt is one thing to try.
type attempt struct {
	from, to station
	protocol string
	port     int
	// address is the target's of one family; not valid if it has none of the other end's.
	address netip.Addr
	bound   bool
}

// plan lists what a request asks for.
func (p places) plan(s *state, c *cluster, request ProbeRequest) ([]attempt, error) {
	request.Protocol = strings.ToLower(request.Protocol)
	if !slices.Contains([]string{"", "icmp", "tcp", "udp", "sctp"}, request.Protocol) {
		return nil, fmt.Errorf("cannot probe by protocol %q: use tcp, udp, icmp or sctp", request.Protocol)
	}
	if request.Protocol == "icmp" && request.Port != 0 {
		return nil, errors.New("ICMP has no ports: leave either the port or the protocol out")
	}
	from, err := p.stations(s, c, request.From, false)
	if err != nil {
		return nil, err
	}
	for _, at := range from {
		if at.netns == "" {
			return nil, fmt.Errorf("cannot probe from %s: it is no machine of the lab", at)
		}
	}
	to, err := p.stations(s, c, request.To, true)
	if err != nil {
		return nil, err
	}
	var attempts []attempt
	for _, here := range from {
		for _, there := range to {
			if here.Endpoint == there.Endpoint && (len(request.From) == 0 || len(request.To) == 0) {
				continue // itself, among all
			}
			checks := there.checks(request)
			if len(checks) == 0 && len(request.To) > 0 {
				return nil, fmt.Errorf("%s declares no port of this protocol: say which with --port", there)
			}
			for _, check := range checks {
				for _, address := range common(here, there) {
					attempts = append(attempts, attempt{here, there, check.Protocol, check.Port, address, request.Bound})
				}
			}
		}
	}
	return attempts, nil
}

// stations looks ends up; none are all pods and nodes, and outside if it is
// wanted.
func (p places) stations(s *state, c *cluster, ends []Endpoint, outside bool) ([]station, error) {
	if len(ends) == 0 {
		for _, pod := range s.Pods {
			if pod.Running {
				ends = append(ends, Endpoint{Kind: PodEndpoint, Namespace: pod.Namespace, Name: pod.Name})
			}
		}
		slices.SortStableFunc(ends, func(a, b Endpoint) int {
			return compareKeys(podKey(a.Namespace, a.Name), podKey(b.Namespace, b.Name))
		})
		for _, node := range s.Nodes {
			ends = append(ends, Endpoint{Kind: NodeEndpoint, Name: node.Name})
		}
		if outside {
			ends = append(ends, Endpoint{Kind: OutsideEndpoint})
		}
	}
	var all []station
	for _, end := range ends {
		at, err := s.find(p, c, end)
		if err != nil {
			return nil, err
		}
		all = append(all, at)
	}
	return all, nil
}

// checks are the protocols and ports to try at a station; ICMP is one with port 0.
func (t station) checks(request ProbeRequest) []Port {
	port, protocol := request.Port, request.Protocol
	if t.Port != 0 {
		port = t.Port
	}
	if t.Protocol != "" {
		protocol = t.Protocol
	}
	var checks []Port
	if port == 0 && (protocol == "" || protocol == "icmp") && t.Kind != ServiceEndpoint {
		checks = append(checks, Port{0, "icmp"})
	}
	for _, declared := range t.ports {
		declared.Protocol = strings.ToLower(declared.Protocol)
		if (port == 0 || port == declared.Port) && (protocol == declared.Protocol || protocol == "" && declared.Protocol != "sctp") {
			checks = append(checks, declared)
		}
	}
	if len(checks) > 0 || port == 0 || len(request.To) == 0 {
		return checks
	}
	// Said explicitly, and not declared.
	if protocol == "" {
		protocol = "tcp"
	}
	return []Port{{port, protocol}}
}

// podMTUs remembers the MTUs of pods' devices while a probe runs.
type podMTUs struct {
	mutex sync.Mutex
	known map[string]int
}

// of is the MTU of a pod's device, 0 for what is no pod.
func (m *podMTUs) of(at station) int {
	if at.Kind != PodEndpoint || at.hostNetwork {
		return 0
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if mtu, ok := m.known[at.netns]; ok {
		return mtu
	}
	mtu := 0
	if inside, err := openNetns(at.netns); err == nil {
		defer inside.Close()
		if link, err := inside.LinkByName(podInterface); err == nil {
			mtu = link.Attrs().MTU
		}
	}
	m.known[at.netns] = mtu
	return mtu
}

// run makes the attempt.
func (a attempt) run(ctx context.Context, size int, mtus *podMTUs) ProbeResult {
	result := ProbeResult{From: a.from.String(), To: a.to.String(), Port: a.port, Protocol: a.protocol}
	address, err := a.address, error(nil)
	if !address.IsValid() {
		err = fmt.Errorf("%s and %s have no addresses of one family", a.from, a.to)
	} else {
		result.Address = address.String()
	}
	if err == nil {
		sizes := []int{size}
		if size == 0 {
			sizes = a.sizes(address, mtus)
		}
		for _, size := range sizes {
			target := target{address: address, port: a.port, size: size, from: a.source()}
			if result.AnsweredBy, err = target.try(ctx, a.from.netns, a.protocol, a.answers()); err != nil {
				if len(sizes) > 1 && size == sizes[1] {
					err = fmt.Errorf("small packets pass, one with %d bytes of payload does not: %w", size, err)
				}
				break
			}
		}
	}
	result.Reached = err == nil
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

// source is the address to be bound to.
func (a attempt) source() netip.Addr {
	i := slices.IndexFunc(a.from.addresses, func(own netip.Addr) bool { return own.Is4() == a.address.Is4() })
	if !a.bound || i < 0 {
		return netip.Addr{}
	}
	return a.from.addresses[i]
}

// answers says whether something that answers with a line is there for sure.
func (a attempt) answers() bool { return a.to.Kind != AddressEndpoint && a.to.Kind != NodeEndpoint }

// common are the target's first addresses of each family that both ends have; one that is
// not valid if there is none.
func common(from, to station) []netip.Addr {
	var out []netip.Addr
	for _, address := range to.addresses {
		sameFamily := func(a netip.Addr) bool { return a.Is4() == address.Is4() }
		if slices.ContainsFunc(from.addresses, sameFamily) && !slices.ContainsFunc(out, sameFamily) {
			out = append(out, address)
		}
	}
	if len(out) == 0 {
		return []netip.Addr{{}}
	}
	return out
}

// smallPayload is what an attempt sends if no size is asked for, as ping(8) does.
const smallPayload = 56

// sizes are the payloads to try: a small one, then one that fills a packet of
// the pods' MTU. A TCP connection fills packets by itself.
func (a attempt) sizes(address netip.Addr, mtus *podMTUs) []int {
	full := 0
	for _, mtu := range []int{mtus.of(a.from), mtus.of(a.to)} {
		if mtu > 0 && (full == 0 || mtu < full) {
			full = mtu
		}
	}
	if full == 0 {
		return []int{smallPayload}
	}
	headers := 20 + 8 // IPv4, and ICMP's or UDP's
	switch {
	case !address.Is4():
		headers = 40 + 8
	case a.protocol == "tcp":
		headers = 0
	}
	return []int{smallPayload, full - headers}
}
