//go:build !pipeline_next

package flows

// Output is the last table that a packet passes.
const Output TableID = 17
