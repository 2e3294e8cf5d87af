// Package slow is the one place where tests and labs learn that a machine is slower
// than most: what they wait for may take so many times longer there. What is asserted
// stays the same.
package slow

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Variable is the environment variable that says how many times, 1 or more; a virtual
// machine without KVM has 4 (test/kernel).
const Variable = "SLUICE_TEST_SLOW"

// most is how many times slower than idle a machine may be by its load, and no slower.
const most = 10

var told = parse(os.Getenv(Variable))

// Bound is how long this machine may take, as it is now, for what others do within d: a
// machine is as slow as it is said to be, or as the processes make it that want to run
// on it, if these are more than it has processors.
func Bound(d time.Duration) time.Duration {
	text, _ := os.ReadFile("/proc/loadavg")
	return time.Duration(float64(d) * max(told, busy(string(text), runtime.NumCPU())))
}

// busy is how many times slower a machine is by its load (proc_loadavg(5)), whose mean over the last
// minute is looked at.
func busy(loadavg string, processors int) float64 {
	minute, _, _ := strings.Cut(loadavg, " ")
	return min(max(1, parse(minute)/float64(processors)), most)
}

// parse is the number that a text is, or 0.
func parse(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return f
}
