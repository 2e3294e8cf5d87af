package openflow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

// A change is made as a whole or not at all; a flow that the switch refuses is named.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := openflow.Dial(ctx, "/run/openvswitch/br-sluice.mgmt", slog.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	err = c.Apply(ctx, openflow.Change{Add: []flows.Flow{{
		Table: flows.Output, Priority: 100,
		Match:   flows.Match{}.IPv4().Is(flows.RegOutput, flows.Uint(7)),
		Actions: []flows.Action{flows.DecTTL{}, flows.OutputTo{Port: 7}},
	}}})
	var refused *openflow.FlowError
	switch {
	case errors.As(err, &refused):
		fmt.Println("nothing was changed because of", refused.Flow)
	case errors.Is(err, openflow.ErrLost):
		fmt.Println("dial again; whatever was installed must be presumed gone")
	case err != nil:
		fmt.Println(err)
	}

	entries, err := c.Dump(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range entries {
		fmt.Println(e.Flow, e.Stats.Packets)
	}
}

// A controller action's packets are answered by sending others through the tables.
func ExampleConn_Packets() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := openflow.Dial(ctx, "/run/openvswitch/br-sluice.mgmt", slog.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	packets, err := c.Packets(ctx, openflow.ReasonAction)
	if err != nil {
		fmt.Println(err)
		return
	}
	for p := range packets { // until the connection is lost
		from, _ := p.Fields.Get(flows.InPort)
		answer := openflow.PacketOut{
			Packet:  p.Packet, // as it came, here
			Fields:  flows.Match{}.Is(flows.RegOutput, from.Value),
			Actions: []flows.Action{flows.Resubmit{Table: flows.Output}},
		}
		if err := c.SendPacket(ctx, answer); err != nil {
			fmt.Println("about the flow of", p.Cookie, err)
		}
	}
}

// Whoever changes flows behind us is noticed at once.
func ExampleConn_Watch() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := openflow.Dial(ctx, "/run/openvswitch/br-sluice.mgmt", slog.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	events, err := c.Watch(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for e := range events { // until the connection is lost
		switch e.Kind {
		case openflow.FlowsOwn: // it was us
		case openflow.FlowsResync:
			fmt.Println("events are missing: dump")
		default:
			fmt.Println("somebody else", e.Kind, e.Flow)
		}
	}
}
