package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluice-cni/sluice/test/bench/figures"
)

// stage is a part of the run, whose requests are told apart from those of others.
type stage struct {
	title string
	// from is where the agent's log ended when it began.
	from int64
}

// begin notes that a stage begins.
func (s *sluice) begin(title string) {
	var size int64
	if info, err := os.Stat(s.agentLog); err == nil {
		size = info.Size()
	}
	s.stages = append(s.stages, stage{title, size})
}

// printPhases prints where the agent's time went in each stage: medians and the
// slowest of what it logged of each request. Phases of a request overlap.
func (s *sluice) printPhases(out io.Writer) error {
	log, err := os.Open(s.agentLog)
	if err != nil {
		return err
	}
	defer log.Close()
	took := map[string]samplesOf{}
	var order []string
	at := int64(0)
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		line := lines.Text()
		title := s.stageAt(at)
		at += int64(len(line)) + 1
		verb, phases := parseRequest(line)
		if title == "" || verb == "" {
			continue
		}
		key := title + ": " + verb
		if took[key] == nil {
			took[key] = samplesOf{}
			order = append(order, key)
		}
		for name, d := range phases {
			took[key][name] = append(took[key][name], d)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "inside the agent, milliseconds\tphase\tp50\tp99\t\n")
	for _, key := range order {
		names := slices.SortedFunc(maps.Keys(took[key]), func(a, b string) int {
			return cmp.Compare(figures.Percentile(took[key][a], 50), figures.Percentile(took[key][b], 50))
		})
		for i, name := range names {
			title := ""
			if i == 0 {
				title = key
			}
			fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t\n", title, name, ms(figures.Percentile(took[key][name], 50)), ms(figures.Percentile(took[key][name], 99)))
		}
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// samplesOf are durations by the phase's name.
type samplesOf map[string][]time.Duration

// stageAt is the title of the stage in which the log was that long.
func (s *sluice) stageAt(at int64) string {
	title := ""
	for _, stage := range s.stages {
		if stage.from <= at {
			title = stage.title
		}
	}
	return title
}

// parseRequest reads the line that the agent logs of a request that it has done
// (agent, serve); verb is empty for any other line.
func parseRequest(line string) (verb string, phases map[string]time.Duration) {
	if !strings.Contains(line, `msg="CNI request done"`) {
		return "", nil
	}
	phases = map[string]time.Duration{}
	for field := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(field, "=")
		if key == "verb" {
			verb = value
		}
		name, isPhase := strings.CutPrefix(key, "phases.")
		if key == "took" {
			name, isPhase = "all", true
		}
		if d, err := time.ParseDuration(value); isPhase && err == nil {
			phases[name] = d
		}
	}
	return verb, phases
}
