package agent

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/sluice-cni/sluice/ovs/appctl"
)

// upcalls are the counters of the kernel's datapath, of packets that no cached flow
// knew: how many were handed to ovs-vswitchd, and how many of them it never took.
type upcalls struct{ missed, lost uint64 }

var lookups = regexp.MustCompile(`lookups: hit:\d+ missed:(\d+) lost:(\d+)`)

// readUpcalls asks ovs-vswitchd; ok is false where it says nothing of the kernel's datapath.
func readUpcalls(ctx context.Context, ovs appctl.Client) (u upcalls, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	text, err := ovs.Call(ctx, "dpctl/show", "system@ovs-system")
	if err != nil {
		return upcalls{}, false, err
	}
	m := lookups.FindStringSubmatch(text)
	if m == nil {
		return upcalls{}, false, nil
	}
	u.missed, err = strconv.ParseUint(m[1], 10, 64)
	if err == nil {
		u.lost, err = strconv.ParseUint(m[2], 10, 64)
	}
	return u, err == nil, err
}

// The rhythm of looking at the upcalls, and how many say something.
const (
	healthEvery = 2 * time.Second
	fewUpcalls  = 3
)

// healthLoop watches whether the kernel's datapath is heard.
func (a *Agent) healthLoop(ctx context.Context) error {
	ticker := time.NewTicker(healthEvery)
	defer ticker.Stop()
	var before upcalls
	known := false // before is of the switch that runs now
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		a.mu.Lock()
		datapath := a.pass.state.Facts.Datapath
		a.mu.Unlock()
		if datapath != "system" {
			continue
		}
		now, ok, err := readUpcalls(ctx, a.neighbours.ovs)
		why := ""
		switch {
		case err != nil || !ok:
			known = false // the passes say what is wrong
		case !known || now.missed < before.missed:
			before, known = now, true
			continue
		case now.missed-before.missed < fewUpcalls:
			continue
		default:
			why = deaf(before, now)
			before = now
		}
		a.mu.Lock()
		said := a.deaf
		a.deaf = why
		a.mu.Unlock()
		if why != "" && said == "" {
			a.log.Error("the switch forwards nothing new", "why", why)
		}
	}
}

// deaf says what is wrong when ovs-vswitchd takes no packet at all that the kernel
// hands to it. Open vSwitch 3.1 starts without handler threads when the machine has
// been up for less than 10 seconds, and loses every new connection's first packet
// until it is started again, however long it runs.
func deaf(before, now upcalls) string {
	missed, lost := now.missed-before.missed, now.lost-before.lost
	if missed == 0 || lost < missed {
		return ""
	}
	return fmt.Sprintf("ovs-vswitchd forwards no new connection: it took none of %d packets that the kernel handed to it "+
		"(so it is when ovs-vswitchd starts within 10 seconds of boot and has no handler threads); "+
		"restart it: systemctl restart openvswitch-switch", missed)
}
