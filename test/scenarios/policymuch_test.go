//go:build !long

package scenarios

// How much is done in the tests of policies that take long.
const (
	// churned is how many policies come and go beside connections.
	churned = 60
	// scanAddresses and scanPorts are what a scan tries, so many ports each millisecond.
	scanAddresses = 50
	scanPorts     = 2000
	scanBurst     = 20
)
