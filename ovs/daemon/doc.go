// Package daemon starts and stops an Open vSwitch of our own: one ovsdb-server
// and one ovs-vswitchd that share a directory and live in one network
// namespace. Simulated nodes and tests are made of it; on a real node the
// distribution's packages start Open vSwitch, and this package has no part in it.
//
// The directory is all the state there is: database, sockets, pid files, logs.
// The daemons outlive the process that started them, and any process that calls
// New on the same directory finds them again. A pid file is believed only when
// /proc says that this pid is that daemon with that very pid file, and that it
// is no zombie.
//
// Start reading at OVS.Start.
package daemon
