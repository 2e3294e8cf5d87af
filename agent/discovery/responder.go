package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/flows/render"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

const (
	// perSecond is how many packets of all ports together the switch sends to its
	// controllers, and how many may come at once. A pod that asks more often costs no
	// more than that; what others ask meanwhile may go unanswered, and they ask again.
	perSecond = 100
	// retry is how often a switch that is away is looked for.
	retry = time.Second
	// look is how often it is seen to that the limit is still in force.
	look = 10 * time.Second
	// bound is how long one exchange with the switch may take.
	bound = 5 * time.Second
)

// Limit is the meter that all packets for the agent share.
var Limit = flows.Meter{
	ID: flows.MeterController, Unit: flows.PacketsPerSecond,
	Bands: []flows.Band{{Type: flows.BandDrop, Rate: perSecond, Burst: perSecond}},
}

// Responder answers solicitations of one bridge, on a connection of its own.
type Responder struct {
	socket   string
	log      *slog.Logger
	answered atomic.Uint64
	kicks    chan struct{}
}

// New makes a Responder for the bridge with this management socket.
func New(socket string, log *slog.Logger) *Responder {
	return &Responder{socket: socket, log: log, kicks: make(chan struct{}, 1)}
}

// Kick tells that there is another switch.
func (r *Responder) Kick() {
	select {
	case r.kicks <- struct{}{}:
	default:
	}
}

// Answered counts the solicitations that were answered.
func (r *Responder) Answered() uint64 { return r.answered.Load() }

// Run answers until ctx ends, whichever switch is there.
func (r *Responder) Run(ctx context.Context) error {
	for {
		err := r.serve(ctx)
		// The passes talk to the same switch, and say what is wrong with it.
		r.log.Debug("nobody is answered for the virtual router", "because", err)
		select {
		case <-ctx.Done():
			return nil
		case <-r.kicks:
		case <-time.After(retry):
		}
	}
}

// serve answers until the switch is lost.
func (r *Responder) serve(ctx context.Context) error {
	opening, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	sw, err := openflow.Dial(opening, r.socket, r.log)
	if err != nil {
		return err
	}
	defer sw.Close()
	if err := limit(opening, sw); err != nil {
		return err
	}
	packets, err := sw.Packets(opening, openflow.ReasonAction)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			err = r.within(ctx, func(ctx context.Context) error { return limit(ctx, sw) })
		case p, ok := <-packets:
			if !ok {
				return openflow.ErrLost
			}
			err = r.within(ctx, func(ctx context.Context) error { return r.answer(ctx, sw, p) })
		}
		if err != nil {
			return err
		}
	}
}

func (r *Responder) within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return do(ctx)
}

// limit puts the meter in place unless it is there.
func limit(ctx context.Context, sw *openflow.Conn) error {
	meters, err := sw.DumpMeters(ctx)
	if err != nil {
		return err
	}
	for _, m := range meters {
		if m.Meter.Equal(Limit) {
			return nil
		}
	}
	if err := sw.Apply(ctx, openflow.Change{PutMeters: []flows.Meter{Limit}}); err != nil {
		return fmt.Errorf("limit what the switch sends to the agent: %w", err)
	}
	return nil
}

// answer sends the answer to a packet, if it asks for the router, back to where it came
// from.
func (r *Responder) answer(ctx context.Context, sw *openflow.Conn, p openflow.PacketIn) error {
	frame, ok := Answer(p.Packet, render.RouterIPv6, render.RouterMAC)
	port, there := p.Fields.Get(flows.InPort)
	if !ok || !there {
		return nil
	}
	err := sw.SendPacket(ctx, openflow.PacketOut{
		Packet: frame, Actions: []flows.Action{flows.OutputTo{Port: uint32(port.Value.Uint64())}},
	})
	if errors.As(err, new(*openflow.Error)) {
		return nil // the port has gone
	}
	if err == nil {
		r.answered.Add(1)
	}
	return err
}
