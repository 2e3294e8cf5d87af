package db

import "time"

// SetProbeInterval changes how often the server is asked for a sign of life, for
// clients opened later, and returns what changes it back.
func SetProbeInterval(d time.Duration) (restore func()) {
	old := probeInterval
	probeInterval = d
	return func() { probeInterval = old }
}
