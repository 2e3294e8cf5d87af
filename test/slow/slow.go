// Package slow is the one place where tests and labs learn that a machine is slower
// than most: what they wait for may take so many times longer there. What is asserted
// stays the same.
package slow

import (
	"os"
	"strconv"
	"time"
)

// Variable is the environment variable that says how many times, 1 or more; a virtual
// machine without KVM has 4 (test/kernel).
const Variable = "SLUICE_TEST_SLOW"

var factor = max(1, parse(os.Getenv(Variable)))

func parse(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 1
	}
	return f
}

// Bound is how long this machine may take for what others do within d.
func Bound(d time.Duration) time.Duration { return time.Duration(float64(d) * factor) }
