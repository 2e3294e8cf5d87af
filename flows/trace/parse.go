package trace

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/sluice-cni/sluice/flows"
)

// Step is a flow that the packet met.
type Step struct {
	Table flows.TableID
	// Depth is 0 in the pipeline, and one more in each subroutine.
	Depth  int
	Cookie flows.Cookie
	// Missing is set where the table has no flow for the packet at all.
	Missing bool
	// Policy is the number of the policy that was called, in the table policies.
	Policy uint32
}

// Trace is what became of a packet.
type Trace struct {
	Steps []Step
	// Outputs are the OpenFlow ports by which it left; empty if it was dropped.
	Outputs []uint32
	// Warnings are what the switch says it did otherwise than the flows say: a port that does not
	// exist, an output to where the packet came from, too many resubmits.
	Warnings []string
}

// Judged tells whether the packet got past the tables of the policies.
func (t Trace) Judged() bool {
	for _, s := range t.Steps {
		if s.Depth == 0 && s.Table >= flows.EgressNAT {
			return true
		}
	}
	return false
}

// Last is the last step in the pipeline: where the packet left or was dropped.
func (t Trace) Last() Step {
	var last Step
	for _, s := range t.Steps {
		if s.Depth == 0 {
			last = s
		}
	}
	return last
}

var (
	bridgeLine = regexp.MustCompile(`^bridge\("(.*)"\)$`)
	stepLine   = regexp.MustCompile(`^( *\d+)\. (.*)$`)
	cookieWord = regexp.MustCompile(`, cookie 0x([0-9a-f]+)$`)
	callLine   = regexp.MustCompile(`^ *set_field:0x([0-9a-f]+)->reg3$`)
	outputLine = regexp.MustCompile(`^ *output:(\d+)$`)
	detailLine = regexp.MustCompile(`^ +-> `)
	warnLine   = regexp.MustCompile(`^ +>> (.*)$`)
)

// Parse reads what ofproto/trace (Open vSwitch 3.1) answers, as far as it is about the bridge: what the
// packet meets on others by the tunnel is theirs. A refusal is the switch's words as an error.
func Parse(bridge, text string) (Trace, error) {
	r := reader{}
	ours := false
	for _, line := range strings.Split(text, "\n") {
		if m := bridgeLine.FindStringSubmatch(line); m != nil {
			ours = m[1] == bridge
		} else if ours {
			if err := r.line(line); err != nil {
				return Trace{}, fmt.Errorf("trace: %q: %w", line, err)
			}
		}
	}
	if len(r.Steps) == 0 {
		return Trace{}, errors.New("trace: no table in the answer: " + strings.TrimSpace(text))
	}
	return r.Trace, nil
}

// reader takes the lines about the bridge one by one.
type reader struct {
	Trace
	// policy is the number that was called last.
	policy uint32
	// callers are the indentations of the steps that the next may have been called by.
	callers []int
	// output is set while lines may say what became of the last output.
	output bool
}

func (r *reader) line(line string) error {
	if m := warnLine.FindStringSubmatch(line); m != nil {
		r.Warnings = append(r.Warnings, m[1])
		if r.output {
			r.Outputs, r.output = r.Outputs[:len(r.Outputs)-1], false
		}
		return nil
	}
	if detailLine.MatchString(line) {
		return nil
	}
	r.output = false
	if m := callLine.FindStringSubmatch(line); m != nil {
		n, err := strconv.ParseUint(m[1], 16, 32)
		r.policy = uint32(n)
		return err
	}
	if m := outputLine.FindStringSubmatch(line); m != nil {
		n, err := strconv.ParseUint(m[1], 10, 32)
		r.Outputs, r.output = append(r.Outputs, uint32(n)), true
		return err
	}
	if m := stepLine.FindStringSubmatch(line); m != nil {
		s, err := step(m[1], m[2])
		s.Depth = r.depth(len(m[1]))
		if s.Table == flows.Policies {
			s.Policy = r.policy
		}
		r.Steps = append(r.Steps, s)
		return err
	}
	return nil
}

// depth is that of a step: what stands further to the right was called by it, how much further
// depends on whether it was the last that it called.
func (r *reader) depth(indentation int) int {
	n := len(r.callers)
	for n > 0 && r.callers[n-1] >= indentation {
		n--
	}
	r.callers = append(r.callers[:n], indentation)
	return n
}

// step reads a line's number, right-aligned, and what was matched.
func step(number, match string) (Step, error) {
	table, err := strconv.ParseUint(strings.TrimSpace(number), 10, 8)
	if err != nil {
		return Step{}, err
	}
	s := Step{Table: flows.TableID(table), Missing: strings.HasPrefix(match, "No match")}
	if m := cookieWord.FindStringSubmatch(match); m != nil {
		cookie, err := strconv.ParseUint(m[1], 16, 64)
		if err != nil {
			return Step{}, err
		}
		s.Cookie = flows.Cookie(cookie)
	}
	return s, nil
}
