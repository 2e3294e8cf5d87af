//go:build !long

package scenarios

// How much is done in the tests of policies that take long.
const (
	// churned is how many policies come and go beside connections.
	churned = 60
	// scanAddresses and scanPorts are what a scan tries.
	scanAddresses = 50
	scanPorts     = 2000
)
