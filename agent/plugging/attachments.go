package plugging

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/db"
)

// attachments are the cables of this node: those in OVSDB, and those being plugged
// or unplugged at this moment. OVSDB is the store; this is what is known of it.
type attachments struct {
	mu sync.Mutex
	// known are the rows as last seen, and those whose row is being written.
	known map[lease.Key]lease.Lease
	// plugging are in ADD: they hold their addresses, though there may be no row yet.
	plugging map[lease.Key]bool
	// leaving are in DEL: no flows any more, though the row may still be there.
	leaving map[lease.Key]bool
	// busy serialises the verbs on one attachment.
	busy map[lease.Key]chan struct{}
	// orphans are why an attachment that nobody seems to need is kept.
	orphans map[lease.Key]string
	// ending are the containers' ends whose DEL has answered and which are not gone yet.
	ending map[end]chan struct{}
}

// end is a place of a cable's end in a container.
type end struct{ netns, ifname string }

func newAttachments() *attachments {
	return &attachments{
		known:    map[lease.Key]lease.Lease{},
		plugging: map[lease.Key]bool{},
		leaving:  map[lease.Key]bool{},
		busy:     map[lease.Key]chan struct{}{},
		orphans:  map[lease.Key]string{},
		ending:   map[end]chan struct{}{},
	}
}

// lock waits for whoever works on the key; unlock lets the next one.
func (t *attachments) lock(done <-chan struct{}, key lease.Key) bool {
	for {
		t.mu.Lock()
		other, ok := t.busy[key]
		if !ok {
			t.busy[key] = make(chan struct{})
			t.mu.Unlock()
			return true
		}
		t.mu.Unlock()
		select {
		case <-other:
		case <-done:
			return false
		}
	}
}

func (t *attachments) unlock(key lease.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.busy[key])
	delete(t.busy, key)
}

// ends notes that the container's end of a cable is about to go; the caller says when
// it has.
func (t *attachments) ends(l lease.Lease) (gone func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	place, done := end{l.NetNS, l.IfName}, make(chan struct{})
	t.ending[place] = done
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if close(done); t.ending[place] == done {
			delete(t.ending, place)
		}
	}
}

// vacant waits until an end that is about to go has left its place, if there is one.
func (t *attachments) vacant(ctx context.Context, netns, ifname string) {
	t.mu.Lock()
	done, ok := t.ending[end{netns, ifname}]
	t.mu.Unlock()
	if !ok {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// get finds an attachment by its key.
func (t *attachments) get(key lease.Key) (lease.Lease, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.known[key]
	return l, ok
}

// held is what the attachments of the pod network have: addresses, and by whom, and host ports.
type held struct {
	addresses map[netip.Addr]string
	ports     []portHolder
}

// reserve enters the new attachment that choose makes. Choose is told what is held.
func (t *attachments) reserve(choose func(held) (lease.Lease, error)) (lease.Lease, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := held{addresses: map[netip.Addr]string{}}
	for _, l := range sortedLeases(t.known) {
		if l.Layer2.Is() {
			continue // the addresses of another network
		}
		who := t.holder(l.Key(), l)
		for _, a := range l.Addresses {
			h.addresses[a] = who
		}
		if len(l.HostPorts) > 0 && !t.leaving[l.Key()] {
			h.ports = append(h.ports, portHolder{l, who})
		}
	}
	l, err := choose(h)
	if err != nil {
		return l, err
	}
	t.known[l.Key()] = l
	t.plugging[l.Key()] = true
	return l, nil
}

// holder says who has an attachment's addresses, and how things stand with it.
func (t *attachments) holder(key lease.Key, l lease.Lease) string {
	switch {
	case t.leaving[key]:
		return l.Holder() + " (is being unplugged)"
	case t.plugging[key]:
		return l.Holder() + " (is being plugged in)"
	case t.orphans[key] != "":
		return l.Holder() + " (an orphan: " + t.orphans[key] + ")"
	}
	return l.Holder()
}

// orphan notes why an attachment is kept; an empty reason, that it is no orphan. It
// tells whether that is news.
func (t *attachments) orphan(key lease.Key, reason string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.orphans[key] == reason {
		return false
	}
	if reason == "" {
		delete(t.orphans, key)
	} else {
		t.orphans[key] = reason
	}
	return true
}

// plugged ends the reservation: the row holds the lease now.
func (t *attachments) plugged(l lease.Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[l.Key()] = l
	delete(t.plugging, l.Key())
}

// around tells how many attachments there are, and whether the one that is being plugged
// is alone in that, with nobody's end about to leave its place.
func (t *attachments) around(l lease.Lease) (attached int, alone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ending := t.ending[end{l.NetNS, l.IfName}]
	return len(t.known), len(t.plugging) == 1 && !ending
}

// update changes what is known of an attachment that is being plugged.
func (t *attachments) update(l lease.Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[l.Key()] = l
}

// leave takes an attachment's rights; its row is about to go.
func (t *attachments) leave(key lease.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leaving[key] = true
}

// stay takes leave back: the row could not be deleted.
func (t *attachments) stay(key lease.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.leaving, key)
}

// gone forgets an attachment: its row is deleted, or was never written.
func (t *attachments) gone(key lease.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.known, key)
	delete(t.plugging, key)
	delete(t.leaving, key)
	delete(t.orphans, key)
}

// seen takes the rows of OVSDB in. It returns those that were known and whose row
// somebody else has deleted, and what is wrong with rows that cannot be read. The rows are read under the lock: a transaction that
// has returned is in what read returns, so what ADD and DEL then write here is
// never older than the rows.
func (t *attachments) seen(ovsdb *db.Client) (lost []lease.Lease, problems []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows, problems := Rows(ovsdb)
	inDB := make(map[lease.Key]bool, len(rows))
	for _, l := range rows {
		inDB[l.Key()] = true
		if old, ok := t.known[l.Key()]; ok && l.OFPort == 0 {
			l.OFPort = old.OFPort // not told yet: what was asked for, or had before
		}
		t.known[l.Key()] = l
	}
	for key, l := range t.known {
		if !inDB[key] && !t.plugging[key] && !t.leaving[key] {
			lost = append(lost, l)
		}
	}
	return lost, problems
}

// all are the attachments whose flows must be there, in a stable order.
func (t *attachments) all() []lease.Lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(sortedLeases(t.known), func(l lease.Lease) bool { return t.leaving[l.Key()] })
}

func sortedLeases(known map[lease.Key]lease.Lease) []lease.Lease {
	return slices.SortedFunc(maps.Values(known), func(a, b lease.Lease) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.ContainerID, b.ContainerID), cmp.Compare(a.IfName, b.IfName))
	})
}

// settled are those that are neither being plugged nor unplugged.
func (t *attachments) settled() []lease.Lease {
	all := t.all()
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(all, func(l lease.Lease) bool { return t.plugging[l.Key()] })
}

// undisturbed calls do with the key locked, unless a verb is at work on the lease or
// has been since: then it is for the verb to say what is true.
func (t *attachments) undisturbed(l lease.Lease, do func() error) error {
	if !t.idle(l) {
		return nil
	}
	defer t.unlock(l.Key())
	return do()
}

// idle locks the key, unless a verb is at work on the lease or has been since.
func (t *attachments) idle(l lease.Lease) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, ok := t.known[l.Key()]
	_, busy := t.busy[l.Key()]
	if busy || !ok || now.Created != l.Created {
		return false
	}
	t.busy[l.Key()] = make(chan struct{})
	return true
}

// isBusy tells whether a verb is at work on the key.
func (t *attachments) isBusy(key lease.Key) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, busy := t.busy[key]
	return busy
}

// underWay are the host's ends of cables that are being plugged or unplugged.
func (t *attachments) underWay() map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := map[string]bool{}
	note := func(k lease.Key) { names[wire.HostName(k.Network, k.ContainerID, k.IfName)] = true }
	for k := range t.busy {
		note(k)
	}
	for k := range t.plugging {
		note(k)
	}
	for k := range t.leaving {
		note(k)
	}
	return names
}

// Rows are the attachments that OVSDB holds. A row that cannot be read is a problem
// and is left alone.
func Rows(ovsdb *db.Client) (rows []lease.Lease, problems []string) {
	for _, port := range ovsdb.Ports(render.Bridge) {
		l, ours, err := lease.Parse(port.Name, port.OFPort, port.ExternalIDs)
		switch {
		case err != nil:
			problems = append(problems, err.Error())
		case ours && l.Layer2.Is():
			problems = append(problems, fmt.Sprintf("port %q is on bridge %q, and its lease is for %q", port.Name, render.Bridge, bridgeOf(l)))
		case ours:
			rows = append(rows, l)
		}
	}
	others, more := layer2Rows(ovsdb)
	return append(rows, others...), append(problems, more...)
}
