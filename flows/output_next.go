//go:build pipeline_next

package flows

// Output is elsewhere in a build that stands for a release with another pipeline. What
// it does is the same, so that a roll-out from the one to the other can be tried under
// traffic: every flow that leads there, and every flow there, is another one.
const Output TableID = 30
