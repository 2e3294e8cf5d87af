package openflow

import (
	"testing"

	"go.uber.org/goleak"
)

// noLeak is that of bridge_test.go for tests inside the package: it fails a test that leaves a goroutine behind. The test must not be parallel,
// but may have parallel parts.
func noLeak(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}
