//go:build long

package scenarios

import "time"

// pingEvery is the time between two echo requests; the machine is quiet.
const pingEvery = time.Millisecond
