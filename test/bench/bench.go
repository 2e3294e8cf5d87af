package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// pause goes before every call that is measured one at a time: what others left to be
// done afterwards (the kernel, ovs-vswitchd, an agent) is done then.
const pause = 20 * time.Millisecond

// bench is one run.
type bench struct {
	options
	place      place
	sluice     *sluice
	contenders []*contender // Sluice first
	figures    []figure
}

func (b *bench) run(ctx context.Context) (err error) {
	if err := removeLeftovers(ctx); err != nil {
		return fmt.Errorf("remove what an earlier bench left: %w", err)
	}
	b.place = here()
	defer func() { err = errors.Join(err, b.place.clear(context.WithoutCancel(ctx))) }()
	if err := os.MkdirAll(b.place.dir(), 0o700); err != nil {
		return err
	}
	if err := b.setUp(ctx); err != nil {
		return err
	}
	before := load()
	if err := b.measure(ctx); err != nil {
		return fmt.Errorf("cannot measure: %w", err)
	}
	after := load()
	if err := b.investigate(ctx); err != nil {
		return err
	}
	fmt.Printf("%s\nload average before: %s; after: %s\n\n", b.machine(), before, after)
	if err := b.table(os.Stdout); err != nil {
		return err
	}
	return b.write()
}

// setUp starts the contenders and proves of each that what it plugs in works.
func (b *bench) setUp(ctx context.Context) error {
	if b.plugins == "" {
		b.plugins = b.place.pluginDir()
		if err := buildPlugins(ctx, b.plugins); err != nil {
			return err
		}
	}
	peers, err := b.place.startPeers(b.plugins)
	if err != nil {
		return err
	}
	if b.sluice, err = b.place.startSluice(ctx, b.binDir); err != nil {
		return err
	}
	b.contenders = append([]*contender{b.sluice.contender}, peers...)
	for _, c := range b.contenders {
		if err := c.prove(ctx); err != nil {
			return fmt.Errorf("%s is not fit to be measured: %w", c.name, err)
		}
	}
	return nil
}

func (b *bench) measure(ctx context.Context) error {
	progress("starting processes, %d rounds", b.rounds)
	if err := b.processes(ctx); err != nil {
		return err
	}
	progress("ADD and DEL one at a time, %d rounds", b.rounds)
	b.sluice.begin("one at a time")
	if err := b.oneAtATime(ctx, "sequential", "one at a time", b.rounds); err != nil {
		return err
	}
	progress("ADD and DEL %d at once, %d times", b.atOnce, b.bursts)
	b.sluice.begin("at once")
	if err := b.allAtOnce(ctx); err != nil {
		return err
	}
	if b.pods == 0 {
		return nil
	}
	b.sluice.begin("plugging pods in")
	progress("plugging in %d pods", b.pods)
	for _, c := range b.contenders {
		if err := c.fill(ctx, b.pods); err != nil {
			return err
		}
	}
	progress("ADD and DEL one at a time, %d rounds", b.rounds)
	b.sluice.begin("beside pods")
	key := fmt.Sprintf("with%dpods", b.pods)
	return b.oneAtATime(ctx, key, fmt.Sprintf("beside %d pods", b.pods), b.rounds)
}

// samples are durations by contender, in the order of bench.contenders.
type samples [][]time.Duration

func (b *bench) samples() samples { return make(samples, len(b.contenders)) }

// inTurns calls do for each contender, every round beginning with another one.
func (b *bench) inTurns(round int, do func(i int, c *contender) error) error {
	for k := range b.contenders {
		i := (round + k) % len(b.contenders)
		if err := do(i, b.contenders[i]); err != nil {
			return err
		}
	}
	return nil
}

// oneAtATime measures an ADD, a CHECK and a DEL of each contender, in turns.
func (b *bench) oneAtATime(ctx context.Context, key, title string, rounds int) error {
	adds, checks, dels, gone := b.samples(), b.samples(), b.samples(), b.samples()
	for round := range b.warmUps + rounds {
		err := b.inTurns(round, func(i int, c *contender) error {
			s, err := c.sandbox(0)
			if err != nil {
				return err
			}
			time.Sleep(pause)
			add, err := c.add(ctx, s)
			if err != nil {
				return err
			}
			time.Sleep(pause)
			check, err := c.check(ctx, s)
			if err != nil {
				return err
			}
			time.Sleep(pause)
			began := time.Now()
			del, err := c.del(ctx, s)
			if err != nil {
				return err
			}
			if err := c.awaitGone(ctx, s); err != nil {
				return err
			}
			if round >= b.warmUps {
				adds[i], checks[i] = append(adds[i], add), append(checks[i], check)
				dels[i], gone[i] = append(dels[i], del), append(gone[i], time.Since(began))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	b.add("cni.add."+key, "ADD, "+title, adds, 50, 99)
	b.add("cni.check."+key, "CHECK, "+title, checks, 50, 99)
	b.add("cni.del."+key, "DEL, "+title, dels, 50, 99)
	b.add("cni.del-and-gone."+key, "DEL until the link has gone", gone, 50, 99)
	return nil
}

// allAtOnce measures ADDs, and then DELs, that start at the same moment.
func (b *bench) allAtOnce(ctx context.Context) error {
	adds, dels, allAdds, allDels := b.samples(), b.samples(), b.samples(), b.samples()
	for burst := range b.bursts + 1 {
		err := b.inTurns(burst, func(i int, c *contender) error {
			time.Sleep(10 * pause)
			add, addAll, err := c.atOnce(ctx, b.atOnce, c.addAtGate)
			if err != nil {
				return err
			}
			time.Sleep(10 * pause)
			del, delAll, err := c.atOnce(ctx, b.atOnce, c.delAtGate)
			if err != nil {
				return err
			}
			for n := range b.atOnce {
				s, err := c.sandbox(n)
				if err != nil {
					return err
				}
				if err := c.awaitGone(ctx, s); err != nil {
					return err
				}
			}
			if burst > 0 { // the first is for warming up
				adds[i], dels[i] = append(adds[i], add...), append(dels[i], del...)
				allAdds[i], allDels[i] = append(allAdds[i], addAll), append(allDels[i], delAll)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	b.add("cni.add.at-once", fmt.Sprintf("ADD, %d at once", b.atOnce), adds, 50, 99)
	b.add("cni.add.at-once.all", fmt.Sprintf("until all %d are done", b.atOnce), allAdds, 50)
	b.add("cni.del.at-once", fmt.Sprintf("DEL, %d at once", b.atOnce), dels, 50, 99)
	b.add("cni.del.at-once.all", fmt.Sprintf("until all %d are done", b.atOnce), allDels, 50)
	return nil
}

// processes measures the least that a plugin can take: CNI VERSION, which does no
// work, beside true.
func (b *bench) processes(ctx context.Context) error {
	version := b.samples()
	var nothing []time.Duration
	for round := range b.warmUps + b.rounds {
		err := b.inTurns(round, func(i int, c *contender) error {
			took, err := c.execute(ctx, c.plugin, "VERSION")
			if err != nil {
				return err
			}
			if round >= b.warmUps {
				version[i] = append(version[i], took)
			}
			return nil
		})
		if err != nil {
			return err
		}
		took, err := b.contenders[0].execute(ctx, "/bin/true", "VERSION")
		if err != nil {
			return err
		}
		if round >= b.warmUps {
			nothing = append(nothing, took)
		}
	}
	b.add("cni.version", "VERSION", version, 50, 99)
	for _, p := range []int{50, 99} {
		b.figures = append(b.figures, newFigure("cni.version-to-true", "VERSION, beside true", p, version[0], "true", nothing))
	}
	return nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// load is the load average of the last minute, five and fifteen.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(text))
	return strings.Join(fields[:min(3, len(fields))], " ")
}
