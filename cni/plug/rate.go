package plug

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluice-cni/sluice/ovs/rtnl"
)

// Limit bounds what a container sends: a token bucket (tc-tbf(8)) at its own end of the
// cable, as the switch cannot hold TCP back without dropping half of it.
type Limit struct {
	// Rate is in bits a second, 0: none; Burst in bits.
	Rate, Burst uint64
}

// limitHandle marks a qdisc as ours: 51:0.
const limitHandle = 0x51

// maxWait bounds, in seconds, how long a packet may wait in the bucket's queue.
const maxWait = 0.05

// tbf is the limit for an interface of this MTU. Bytes, and the kernel's ticks.
func (l Limit) tbf(index, mtu int) *netlink.Tbf {
	rate := l.Rate / 8
	// A bucket must hold the largest packet, or that one never passes.
	burst := max(l.Burst/8, 2*uint64(mtu+14))
	ticks := float64(burst) * 1e6 / float64(rate) * netlink.TickInUsec()
	return &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(limitHandle, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate, Limit: uint32(float64(rate)*maxWait) + uint32(burst), Buffer: uint32(min(ticks, 1<<32-1)),
	}
}

// limit gives the interface its limit.
func limit(h *netlink.Handle, index, mtu int, l Limit) error {
	if l.Rate == 0 {
		return nil
	}
	if err := h.QdiscReplace(l.tbf(index, mtu)); err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = fmt.Errorf("%w (the kernel has no sch_tbf)", err)
		}
		return fmt.Errorf("limit what is sent to %d bit/s: %w", l.Rate, err)
	}
	return nil
}

// limitOf reads the rate of ours in bits a second, 0 if there is none.
func limitOf(h *netlink.Handle, link netlink.Link) (uint64, error) {
	list, err := rtnl.Qdiscs(h, link)
	if err != nil {
		return 0, fmt.Errorf("list qdiscs: %w", err)
	}
	for _, q := range list {
		if t, ok := q.(*netlink.Tbf); ok && t.Handle == netlink.MakeHandle(limitHandle, 0) {
			return t.Rate * 8, nil
		}
	}
	return 0, nil
}
