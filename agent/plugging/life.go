package plugging

import (
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/ovs/netns"
)

// This file is the evidence that a container is dead although nobody has said so. What
// the kernel says is believed: a cable that has gone, a namespace without processes.
// What an API server or a path says is not enough by itself to unplug anybody.

const (
	// lookEvery is how often the processes are looked at.
	lookEvery = 2 * time.Second
	// deadAfter is how long all evidence must hold before a cable is taken away.
	deadAfter = 10 * time.Second
)

// life is what is known of who lives in which namespace. One caller at a time.
type life struct {
	// processes finds them; a test may have others.
	processes func() (inhabitants, error)
	looked    time.Time
	now       inhabitants
	// peopled are the namespaces in which a process was seen.
	peopled map[lease.Key]bool
	// podSeen are the attachments whose Pod was known once.
	podSeen map[lease.Key]bool
	// since is when the evidence of an attachment's death was first whole.
	since map[lease.Key]time.Time
}

// inhabitants are a process of each network namespace, by its inode.
type inhabitants map[uint64]inhabitant

type inhabitant struct {
	pid  int
	name string
}

func newLife() *life {
	return &life{processes: processes, peopled: map[lease.Key]bool{}, podSeen: map[lease.Key]bool{}, since: map[lease.Key]time.Time{}}
}

// dead are the attachments that have ended without DEL, and how that is known. It notes
// of the others why they are kept, where there is doubt.
func (p *Plugger) dead(settled []lease.Lease, cables map[string]bool) iter.Seq2[lease.Lease, string] {
	return func(yield func(lease.Lease, string) bool) {
		known := map[lease.Key]bool{}
		if err := p.life.look(); err != nil {
			p.log.Debug("processes cannot be looked at", "error", err)
		}
		for _, l := range settled {
			known[l.Key()] = true
			why := "its cable has gone"
			if cables[l.Port] {
				if why = p.doubt(l); why == "" {
					continue
				}
			}
			if !yield(l, why) {
				return
			}
		}
		p.life.forget(known)
	}
}

// doubt looks at an attachment whose cable is there. It returns why it is dead, or
// nothing, having noted why it is kept if there is a doubt.
func (p *Plugger) doubt(l lease.Lease) string {
	who, alive := p.life.now[l.NetNSInode]
	if alive {
		p.life.peopled[l.Key()] = true
	}
	doubt := p.suspicion(l)
	reason, dead := "", false
	switch {
	case doubt == "":
	case l.NetNSInode == 0:
		reason = doubt + "; kept, as it is not known which processes live in it"
	case alive:
		reason = fmt.Sprintf("%s; kept, as process %d (%s) lives in it", doubt, who.pid, who.name)
	case p.life.now == nil:
		reason = doubt + "; kept, as the machine's processes cannot be looked at"
	case !p.life.peopled[l.Key()]:
		reason = doubt + "; kept, as this agent has never seen a process in it (does its pod have hostPID?): it is not known whether it has ended"
	default:
		reason, dead = doubt+", and its last process has ended", true
	}
	if !dead {
		delete(p.life.since, l.Key())
	} else if p.life.since[l.Key()].IsZero() {
		p.life.since[l.Key()] = time.Now()
	}
	if dead && time.Since(p.life.since[l.Key()]) >= deadAfter {
		return reason
	}
	if p.attach.orphan(l.Key(), reason) && reason != "" {
		p.log.Warn("an attachment seems to be nobody's", "holder", l.Holder(), "port", l.Port, "reason", reason)
	}
	return ""
}

// suspicion is what speaks for an attachment's being nobody's, empty if nothing does.
func (p *Plugger) suspicion(l lease.Lease) string {
	if l.NetNS != "" {
		there, err := netns.Exists(l.NetNS)
		if err == nil && (!there || l.NetNSInode != 0 && inode(l.NetNS) != l.NetNSInode) {
			return "its network namespace is no longer at " + l.NetNS
		}
	}
	if l.PodName == "" {
		return ""
	}
	pod, there, known := p.node.Pod(l.PodNamespace, l.PodName)
	if there {
		p.life.podSeen[l.Key()] = true
	}
	switch {
	case !known:
		return ""
	case !there && !p.life.podSeen[l.Key()] && !p.node.KnowsAllPods():
		return "" // a container of which the manifests never spoke
	case !there:
		return "its Pod is gone"
	case pod.Finished:
		return "its Pod has finished"
	}
	return ""
}

// look finds out who lives where, now and then.
func (f *life) look() error {
	if time.Since(f.looked) < lookEvery {
		return nil
	}
	f.looked = time.Now()
	var err error
	f.now, err = f.processes()
	return err
}

// forget drops what is known of attachments that are not there.
func (f *life) forget(known map[lease.Key]bool) {
	gone := func(key lease.Key) bool { return !known[key] }
	maps.DeleteFunc(f.peopled, func(key lease.Key, _ bool) bool { return gone(key) })
	maps.DeleteFunc(f.podSeen, func(key lease.Key, _ bool) bool { return gone(key) })
	maps.DeleteFunc(f.since, func(key lease.Key, _ time.Time) bool { return gone(key) })
}

// processes are those that the agent can see: without hostPID, its own. That none is seen
// says nothing, therefore, unless one was seen there before.
func processes() (inhabitants, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	out := inhabitants{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() { // a thread of ours may be in there just now
			continue
		}
		ns, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/net"))
		if err != nil {
			continue // it has ended, or is one that nobody may look at
		}
		number, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(ns, "net:["), "]"), 10, 64)
		if _, seen := out[number]; err != nil || seen {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		out[number] = inhabitant{pid, strings.TrimSpace(string(comm))}
	}
	return out, nil
}
