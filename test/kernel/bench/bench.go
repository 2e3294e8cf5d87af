package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sluice-cni/sluice/test/bench/figures"
)

// bench is one run.
type bench struct {
	options
	place place
	// races are what is compared.
	races []race
}

// race is a comparison of ways between two ends.
type race struct {
	// key is of the figures' names, title for people.
	key, title string
	ways       []way // Sluice's first
}

// way is what packets go through from one end to the other.
type way struct {
	name     string
	from, to end
	// rates are what was measured, by the kind of stream.
	rates map[kind][]float64
}

func (b *bench) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, b.place.clear(context.WithoutCancel(ctx))) }()
	if b.races, err = b.place.setUp(ctx, b.binDir); err != nil {
		return fmt.Errorf("set up what is to be measured: %w", err)
	}
	for round := range b.rounds {
		for _, k := range kinds {
			if err := b.round(ctx, round, k); err != nil {
				return fmt.Errorf("cannot measure: %w", err)
			}
		}
	}
	if err := writeTable(os.Stdout, b.races); err != nil {
		return err
	}
	var list []figures.Figure
	for _, r := range b.races {
		list = append(list, r.figures()...)
	}
	return figures.Write(b.out, list)
}

// round measures a kind of stream once on each way.
func (b *bench) round(ctx context.Context, round int, k kind) error {
	for _, r := range b.races {
		for i := range r.ways {
			w := &r.ways[(round+i)%len(r.ways)]
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			got, err := k.measure(w.from, w.to, b.warm, b.duration)
			if err != nil {
				return fmt.Errorf("%s, %s: %s: %w", r.title, w.name, k.title, err)
			}
			w.rates[k] = append(w.rates[k], got.rate)
			progress("round %d of %d: %s, %s: %s: %.0f %s, %.0f%% lost", round+1, b.rounds, r.title, w.name, k.title, got.rate, k.unit, 100*got.lost)
		}
	}
	return nil
}
