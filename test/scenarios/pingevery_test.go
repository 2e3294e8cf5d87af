//go:build !long

package scenarios

import "time"

// pingEvery is the time between two echo requests: so many that a busy machine still
// forwards them all. Userspace Open vSwitch does so in one thread.
const pingEvery = 10 * time.Millisecond
