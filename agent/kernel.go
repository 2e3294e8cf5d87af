package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/sluice-cni/sluice/agent/host"
)

// kernelLoop looks, once a tick, at what the kernel tells only those who ask. It is no
// part of a pass, as asking takes the kernel's lock on its network configuration:
// while 50 links are being deleted that is hundreds of milliseconds (seen), and no ADD
// or DEL must wait for it.
func (a *Agent) kernelLoop(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		a.refreshUnderlay()
		err := a.plugger.Collect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			said = ""
		} else if said != err.Error() {
			said = err.Error()
			a.log.Error("leases could not be held against the cables", "error", err)
		}
	}
}

// underlay is the device with the node's address, found for these addresses.
type underlay struct {
	host.Underlay
	of []netip.Addr
}

// findUnderlay is the device as last looked at, at most a tick ago.
func (a *Agent) findUnderlay(addresses []netip.Addr) (host.Underlay, error) {
	a.mu.Lock()
	last := a.underlay
	a.mu.Unlock()
	if last.Device != "" && slices.Equal(last.of, addresses) {
		return last.Underlay, nil
	}
	found, err := host.FindUnderlay(addresses)
	if err != nil {
		return host.Underlay{}, err
	}
	a.mu.Lock()
	a.underlay = underlay{found, addresses}
	a.mu.Unlock()
	return found, nil
}

// refreshUnderlay looks again. Where it is not what it was, the next pass has to know.
func (a *Agent) refreshUnderlay() {
	a.mu.Lock()
	last := a.underlay
	a.mu.Unlock()
	if last.Device == "" {
		return // the passes look by themselves
	}
	found, err := host.FindUnderlay(last.of)
	if err == nil && found == last.Underlay {
		return
	}
	a.mu.Lock()
	a.underlay = underlay{} // the pass looks, and says what is wrong
	a.mu.Unlock()
	a.kick()
}
