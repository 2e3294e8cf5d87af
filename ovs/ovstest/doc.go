// Package ovstest gives any test an Open vSwitch of its own: real daemons, in a
// network namespace and a directory that are gone when the test ends. Tests that
// use it need root and an installed Open vSwitch, fail without them (they are
// never skipped), and may run in parallel.
//
// The datapath is userspace ("netdev") unless the environment variable
// SLUICE_TEST_DATAPATH says "system", for machines whose kernel has Open vSwitch.
package ovstest
